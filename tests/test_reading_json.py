"""Whoever reads JSON that may be damaged bears all that Python's reader raises: this reads the source and finds who does not.

`json.loads` raises JSONDecodeError, a plain ValueError for a whole number of thousands of digits, and RecursionError for what is nested deep.
"""

from __future__ import annotations

import ast

import pytest

from kohya_bridge.building.character_options import read_json
from kohya_bridge.errors import BridgeError, InvalidInput
from kohya_bridge.models.safetensors_header import read_header
from kohya_bridge.runs.run_table import experiment_table
from kohya_bridge.workspace import PACK_ROOT, Workspace
from scripts.chaos.parsers import safetensors

UNUSUAL = {
    "deep": "[" * 100_000,
    "deep and closed": "[" * 50_000 + "]" * 50_000,
    "long number": '{"a": ' + "9" * 5000 + "}",
}


def incomplete(tree: ast.Module) -> list[int]:
    """Lines of `try` blocks that read JSON, catch that it is none, and forget one way of that."""
    found = []
    for block in (each for each in ast.walk(tree) if isinstance(each, ast.Try)):
        reads = any(
            isinstance(each, ast.Call) and ast.unparse(each.func) in ("json.loads", "json.load")
            for part in block.body
            for each in ast.walk(part)
        )
        caught = " ".join(ast.unparse(each.type) for each in block.handlers if each.type)
        if reads and (
            "JSONDecodeError" in caught or ("ValueError" in caught and "RecursionError" not in caught)
        ):
            found.append(block.lineno)
    return found


def test_nobody_forgets_deep_or_long_json():
    rooms = [*(PACK_ROOT / "kohya_bridge").rglob("*.py"), *(PACK_ROOT / "nodes").rglob("*.py")]
    wrong = [
        f"{file.relative_to(PACK_ROOT)}:{line}"
        for file in sorted(rooms)
        for line in incomplete(ast.parse(file.read_text("utf-8")))
    ]
    assert not wrong, "Catch (ValueError, RecursionError)."


@pytest.mark.parametrize(
    "caught",
    ["ValueError", "json.JSONDecodeError", "(json.JSONDecodeError, RecursionError)", "(OSError, ValueError)"],
)
def test_an_incomplete_one_is_found(caught):
    assert incomplete(ast.parse(f"try:\n    json.loads(x)\nexcept {caught}:\n    pass"))


@pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL)
def test_such_files_are_refused_in_words_or_passed_over(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InvalidInput):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.safetensors").write_bytes(safetensors(text.encode()))
    with pytest.raises(BridgeError):
        read_header(tmp_path / "x.safetensors")
    workspace = Workspace.at(tmp_path / "training")
    workspace.root.mkdir()
    workspace.experiments_file.write_text(text + '\n{"run_id": "0123456789ab"}\n')
    experiment_table(workspace)
