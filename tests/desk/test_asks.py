"""Prompts that came along with a run's folder wait for a person; only what this machine kept in that place is queued by itself."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict

import pytest

from kohya_bridge import machine_key
from kohya_bridge.errors import NotFound
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs import unattended
from kohya_bridge.runs.asks import agree, asks_of, decline
from kohya_bridge.runs.held_prompt import HeldPrompt, claim, digest_of, keep
from tests.test_unattended import run_with

PROMPT = {
    "7": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
    "8": {"class_type": "Sampler", "inputs": {}},
}
GRID = unattended.Unattended({"grid": {"class_type": "Grid", "inputs": {"checkpoints": "best"}}}, ("grid",))


@pytest.fixture
def run(tmp_path):
    return run_with(tmp_path / "here", 100, 200)


def by_the_version_before(run) -> None:
    """The files as they were written before anything was signed."""
    run.held_prompts_dir.mkdir()
    (run.held_prompts_dir / f"{digest_of(PROMPT)}.json").write_text(
        json.dumps(asdict(HeldPrompt(PROMPT, "page")))
    )
    run.unattended_file.write_text(json.dumps(asdict(GRID)))


def of_another_machine(run, monkeypatch, tmp_path) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path / "their key"))
        keep(run, HeldPrompt(PROMPT, "page"))
        unattended.keep(run, GRID)


def copied_from_another_place(run, tmp_path) -> None:
    other = RunFolder(tmp_path / "there" / "alice" / "0123456789ab")
    keep(other, HeldPrompt(PROMPT, "page"))
    unattended.keep(other, GRID)
    shutil.copytree(other.held_prompts_dir, run.held_prompts_dir)
    shutil.copy(other.unattended_file, run.unattended_file)


def changed_afterwards(run) -> None:
    keep(run, HeldPrompt(PROMPT, "page"))
    unattended.keep(run, GRID)
    for file in (run.unattended_file, *run.held_prompts()):
        told = json.loads(file.read_text())
        told["prompt"]["more"] = {"class_type": "RunAnything", "inputs": {}}
        file.write_text(json.dumps(told))


@pytest.fixture(params=["by the version before", "of another machine", "copied", "changed afterwards"])
def foreign(request, run, monkeypatch, tmp_path):
    """A run whose prompts this machine did not keep in that place."""
    make = {
        "by the version before": lambda: by_the_version_before(run),
        "of another machine": lambda: of_another_machine(run, monkeypatch, tmp_path),
        "copied": lambda: copied_from_another_place(run, tmp_path),
        "changed afterwards": lambda: changed_afterwards(run),
    }
    make[request.param]()
    return run


def test_what_this_machine_kept_asks_nobody(run):
    keep(run, HeldPrompt(PROMPT, "page"))
    unattended.keep(run, GRID)
    assert asks_of(run) == []
    assert [each.prompt for each in claim(run)] == [PROMPT]
    assert unattended.next_checkpoint(run)["step"] == 100


def test_what_came_along_is_not_sent_and_a_person_is_asked(foreign):
    assert claim(foreign) == []
    assert unattended.next_checkpoint(foreign) is None
    unattended.close(foreign, "0" * 64, "success")
    assert {each.kind for each in asks_of(foreign)} == {"prompt", "grids"}
    shown = next(each for each in asks_of(foreign) if each.kind == "prompt")
    assert shown.nodes["SaveImage"] == 1 and '"class_type": "SaveImage"' in shown.text


def test_agreed_to_it_is_sent_once_as_if_it_had_been_kept_here(foreign):
    for each in asks_of(foreign):
        agree(foreign, each.what)
    assert asks_of(foreign) == []
    assert len(claim(foreign)) == 1 and claim(foreign) == []
    assert unattended.next_checkpoint(foreign)["step"] == 100


def test_declined_it_is_not_sent_and_asks_no_more(foreign):
    for each in asks_of(foreign):
        decline(foreign, each.what)
    assert asks_of(foreign) == [] and claim(foreign) == []
    assert unattended.next_checkpoint(foreign) is None


def test_an_answer_to_nothing_is_refused(run):
    keep(run, HeldPrompt(PROMPT))
    for what in (digest_of(PROMPT), "grids", "order", "../../x", ""):
        with pytest.raises(NotFound):
            agree(run, what)
    with pytest.raises(NotFound):
        decline(run, "grids")
    assert len(run.held_prompts()) == 1


def test_grids_of_which_all_are_made_ask_for_nothing(run):
    """Runs of the version before that are over would ask for ever."""
    over = {f"{step:064x}": "success" for step in (100, 200)}
    run.unattended_file.write_text(json.dumps({**asdict(GRID), "over": over}))
    assert asks_of(run) == []


HOSTILE = (
    "", "[]", "{}", "null", "7", '"x"', "[" * 100_000, '{"prompt": 1}', '{"prompt": {}}', '{"prompt": {"1": 2}}',
    '{"prompt": {"1": {"class_type": 3}}}', '{"prompt": {"1": {"class_type": "X", "inputs": []}}}', '{"prompt": null, "grids": 5}',
    '{"prompt": {"1": {"class_type": "X", "inputs": {}}}, "grids": ["2"]}', '{"prompt": {"1": {"class_type": "X"}}, "grids": ["1"]}',
    '{"prompt": {"1": {"class_type": "X", "inputs": {}}}, "grids": ["1"], "over": []}', '{"signature": {}}', "\xff\xfe\x00",
    '{"prompt": {"1": {"class_type": "X", "inputs": {}}}, "grids": [["1"]]}', '{"prompt": {"1": {"class_type": "X", "inputs": {}}}, "grids": {"1": 1}, "over": {"a": 1}}',
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_damaged_record_asks_for_nothing_and_hides_nothing(run, text):
    run.held_prompts_dir.mkdir()
    for name in ("a.json", "b.json"):
        (run.held_prompts_dir / name).write_text(text, "latin-1")
    keep(run, HeldPrompt(PROMPT))
    run.unattended_file.write_text(text, "latin-1")
    assert [each.kind for each in asks_of(run)] == []
    assert len(claim(run)) == 1
    assert unattended.grid_notices(run, run.state().checkpoints)[0]["code"] == "grids_unknown"


def test_pipes_links_and_folders_in_place_of_records_are_passed_over(run, tmp_path):
    run.held_prompts_dir.mkdir()
    os.mkfifo(run.held_prompts_dir / "pipe.json")
    (run.held_prompts_dir / "folder.json").mkdir()
    (run.held_prompts_dir / "link.json").symlink_to("/etc/passwd")
    os.mkfifo(run.unattended_file)
    keep(run, HeldPrompt(PROMPT))
    assert asks_of(run) == [] and len(claim(run)) == 1
