"""A run folder that somebody passed on is data: whatever names its files hold, packaging reads and writes nothing outside."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from kohya_bridge.errors import BridgeError
from kohya_bridge.package import packages_of
from kohya_bridge.package.package import package_lora
from kohya_bridge.package.recipe import read_recipe

_watched: list[tuple[Path, list[str]]] = []


@contextmanager
def nothing_touched(folder: Path) -> Iterator[None]:
    """Whatever is opened, listed, made, renamed or deleted below `folder` meanwhile fails the test."""
    touched: list[str] = []
    _watched.append((folder, touched))
    try:
        yield
    finally:
        _watched.pop()
    assert not touched


def _hear(event: str, arguments: tuple) -> None:
    if _watched and event in (
        "open",
        "os.listdir",
        "os.scandir",
        "os.mkdir",
        "os.rename",
        "os.remove",
        "os.link",
        "os.symlink",
    ):
        folder, touched = _watched[-1]
        for each in arguments[:2]:
            if isinstance(each, (str, bytes, os.PathLike)) and Path(
                os.path.realpath(os.fsdecode(each))
            ).is_relative_to(folder):
                touched.append(f"{event} {os.fsdecode(each)}")


sys.addaudithook(_hear)


@pytest.fixture
def received(validated, tmp_path):
    """A validated run, and beside it a folder that is nobody's business, with everything in it that a name could ask for."""
    outside = tmp_path / "outside"
    (outside / "checkpoints").mkdir(parents=True)
    checkpoint = validated.run.dir / validated.run.checkpoint("best")["file"]
    for name in (
        "secret.png",
        "secret.safetensors",
        "checkpoints/a.safetensors",
        "package.json",
        "metadata.yaml",
    ):
        (outside / name).write_bytes(checkpoint.read_bytes())
    return validated, outside


def leaves(value: object, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all text and numbers in a JSON value."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


def replaced(value, path: tuple, by: object):
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], by)
    return copy


def rewrite(file: Path, choose, by: object) -> bool:
    """Replace one value in a YAML, JSON or JSON-lines file; `choose` picks from a list. False if it can't be written so."""
    text = file.read_text("utf-8")
    try:
        if file.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines()]
            rows = replaced(rows, choose(list(leaves(rows))), by)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        else:
            data = yaml.safe_load(text)
            data = replaced(data, choose(list(leaves(data))), by)
            file.write_text(json.dumps(data), "utf-8")  # JSON is YAML
    except UnicodeEncodeError:
        return False
    return True


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
def test_any_value_in_any_file_of_a_run_may_be_anything_and_packaging_stays_inside(received, data):
    finished, outside = received
    aims = [str(outside / "secret.png"), str(outside), "../../../outside/secret", "../../../../outside", "..", "a/../../x",
            "../../../../../outside/checkpoints/a.safetensors", "C:\\x", "x\\..\\..\\y", "\0", "", "/", 7, None, [], 1e308]  # fmt: skip
    manifest = finished.workspace.validation_dir("alice", finished.run.run_id) / "validation_manifest.json"
    files = [finished.run.plan_file, finished.run.events_file, manifest, finished.dataset_metadata]
    file = data.draw(some.sampled_from(files))
    value = data.draw(some.sampled_from(aims) | some.text(max_size=12))
    before = file.read_bytes()
    try:
        written = rewrite(file, lambda paths: data.draw(some.sampled_from(paths)), value)
        with nothing_touched(outside):
            try:
                made = package_lora(
                    finished.run, lora_dir=finished.lora_dir, workspace=finished.workspace, hub_folder=written,
                    civitai_zip=True, civitai_info=True,
                )  # fmt: skip
                assert made.file.is_relative_to(finished.lora_dir)
                packages_of(finished.run)
            except BridgeError:
                pass
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", "A", "con", "", "x\n"])
def test_a_plan_whose_character_is_no_plain_name_is_not_packaged(finished, name):
    plan = yaml.safe_load(finished.run.plan_file.read_text())
    finished.run.plan_file.write_text(yaml.safe_dump({**plan, "character": name}))
    with pytest.raises(BridgeError, match="character"):
        package_lora(finished.run, lora_dir=finished.lora_dir)
    assert not finished.lora_dir.exists()


@pytest.mark.parametrize("record", ["", "[]", '{"step": "x"}', '{"step": 1}', "[" * 100_000])
def test_a_damaged_record_of_a_package_hides_no_other(finished, record):
    package_lora(finished.run, lora_dir=finished.lora_dir)
    (finished.run.dir / "package" / "other").mkdir()
    (finished.run.dir / "package" / "other" / "package.json").write_text(record)
    assert [each["step"] for each in packages_of(finished.run)] == [800]


def test_a_card_may_name_any_plan_and_any_step(finished, tmp_path):
    made = package_lora(finished.run, lora_dir=finished.lora_dir)
    card = made.card_file.read_text()
    for old, new in (
        ("character: alice", "character: ../../x"),
        ("| Step | 800 ", f"| Step | {'9' * 5000} "),
        ("| Step | 800 ", "| Step | ² "),
    ):
        assert old in card
        (tmp_path / "card.md").write_text(card.replace(old, new))
        with pytest.raises(BridgeError):
            read_recipe(tmp_path / "card.md")
