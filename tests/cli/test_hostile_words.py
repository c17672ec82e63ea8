"""Whatever verb is asked about a hostile workspace, nothing of it steers the terminal; nor do warnings, or what a model said."""

import json
import logging

import pytest

from kohya_bridge.__main__ import main, make_parser
from kohya_bridge.console import without_steering
from kohya_bridge.workspace import Workspace
from tests.cli.test_terminal import STEERING, steers
from tests.desk.conftest import make_dataset
from tests.rehearsed_runs import rehearse, rehearsed_plan

HOSTILE = "\x1b]0;owned\x07 \x9b31m red \u202egpj.exe \r\x08 [link=x]a[/link] \U000e0041"


def test_what_a_model_said_is_kept_without_what_steers():
    assert without_steering(f"a {STEERING}, 日本語 👩‍👩‍👧") == "a [31mx, 日本語 👩‍👩‍👧"


def test_a_warning_that_goes_to_stderr_is_cleaned_too(monkeypatch, capsys, tmp_path):
    logger = logging.getLogger("kohya_bridge.stray")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    main(["runs", "--workspace", str(tmp_path)])
    logger.warning("Run %s is set aside.", HOSTILE)
    assert not steers(capsys.readouterr().err)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """With escapes wherever a file may hold text."""
    made = Workspace.at(tmp_path_factory.mktemp("terminal") / "training")
    make_dataset(made, "alice")
    dataset = made.dataset_dir("alice")
    (dataset / "images" / "0001.png").rename(dataset / "images" / "\x1b[31m\u202e.png")
    with open(dataset / "captions.jsonl", "a", encoding="utf-8") as rows:
        rows.write(
            json.dumps({"file_name": "\x1b[31m\u202e.png", "prompt": HOSTILE, "trigger": HOSTILE}) + "\n"
        )
    with open(dataset / "metadata.yaml", "a", encoding="utf-8") as metadata:
        metadata.write(f"notes: {json.dumps(HOSTILE)}\nsource: {json.dumps(HOSTILE)}\n")
    story = rehearse(made, rehearsed_plan(dataset="alice", max_train_steps=200)).start().train(1, 200)
    story.report.notice(HOSTILE, HOSTILE, code=HOSTILE)
    story.report.log.write("best", step=200, file=f"checkpoints/{HOSTILE[:3]}.safetensors", reason=HOSTILE)
    story.finish("failed", problem=HOSTILE, fix=HOSTILE, code=HOSTILE, evidence=HOSTILE)
    story.run.log_file.write_text(HOSTILE)
    cut = rehearse(made, rehearsed_plan(dataset="alice", seed=2)).start().close()
    cut.run.plan_file.write_text(f"{json.dumps(HOSTILE)}: {json.dumps(HOSTILE)}\n")
    made.configs_dir.mkdir(parents=True, exist_ok=True)
    (made.configs_dir / "hostile.yaml").write_text(f"{json.dumps(HOSTILE)}: 1\n")
    return made, story.run.run_id, cut.run.run_id


def command_lines(run_id, cut, workspace):
    config = str(workspace.configs_dir / "hostile.yaml")
    yield from (
        ["runs"],
        ["advance"],
        ["experiments"],
        ["triggers"],
        ["datasets"],
        ["caption", "--prompt", HOSTILE],
    )
    for verb in (
        "status",
        "watch",
        "validate",
        "package",
        "resume",
        "pause",
        "unpause",
        "stop",
        "tensorboard",
        "mend",
        "move",
        "delete",
    ):
        for each in (run_id, cut, HOSTILE):
            yield [verb, each, *(["1"] if verb == "move" else [])]
    for each in ("alice", HOSTILE):
        yield from (["lint", each], ["lint", each, "--view", "native"], ["lint", each, "--fix", "--dry-run"])
        yield from (["coverage", each], ["diff", each, f"{each}@{HOSTILE}"], ["mark", each, HOSTILE])
    for verb in ("plan", "train", "adopt", "reproduce", "regress"):
        yield [verb, config]


def test_no_verb_passes_an_escape_on(workspace, capsys):
    made, run_id, cut = workspace
    known = make_parser()[1].parsers
    told = 0
    for words in command_lines(run_id, cut, made):
        assert words[0] in known
        for more in ([], ["--json"]):
            try:
                main([*words, *more, "--workspace", str(made.root)])
            except SystemExit:  # argparse: no such verb or option; what it quotes is the person's own
                capsys.readouterr()
                continue
            captured = capsys.readouterr()
            told += bool(captured.out or captured.err)
            assert not steers(captured.out + captured.err), words
    assert told > 40
