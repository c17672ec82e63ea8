"""The rooms of docs/architecture.md stay apart: who may import whom, and what the core must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kohya_bridge.workspace import PACK_ROOT

CORE = PACK_ROOT / "kohya_bridge"
COMFY = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "server", "execution", "nodes"}
HEAVY = {"torch", "diffusers", "peft", "accelerate", "transformers", "torchvision", "bitsandbytes"}

HOST_SIDE = CORE / "engines" / "native" / "host_side"  # the models of ComfyUI itself, in the child only

# Pure values: they may import each other and nothing else of the core.
VOCABULARY = {
    "breathing",
    "counted",
    "disk",
    "errors",
    "files",
    "events",
    "run_state",
    "architectures",
    "engine_names",
    "settings",
    "system_errors",
    "presets",
    "plan",
    "reasons",
    "redaction",
    "event_shape",
    "event_reader",
    "state_folders",
    "state_reader",
    "json_text",
    "names",
    "selection",
    "smoothing",
    "forbidding",
    "workspace",
    "wrong_values",
}
# The top of the core: everything may be used from here, and nothing below may use it.
ORCHESTRATION = {
    "supervisor",
    "keeper",
    "steering",
    "reproduce",
    "desk",
    "doctor",
    "cli",
    "__main__",
}
# Loaded by trainers whose interpreter has none of our packages.
CHILD_SIDE = (
    "files",
    "engines.child",
    "engines.reporter",
    "engines.saved",
    "engines.best",
    "engines.holding",
    "engines.off_device",
    "engines.failures",
    "engines.kohya.runner",
    "selection",
    "smoothing",
    "models.lora_check",
)


def modules(folder: Path = CORE) -> list[Path]:
    return [file for file in sorted(folder.rglob("*.py")) if "__pycache__" not in file.parts]


def name_of(file: Path) -> str:
    return file.relative_to(CORE).with_suffix("").as_posix()


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """`(level, dotted name)` of everything that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield from ((node.level, f"{base}.{alias.name}".strip(".")) for alias in node.names)


def core_imports(file: Path) -> Iterator[str]:
    """What a module of the core imports from the core, as paths such as `engines/child`."""
    package = file.relative_to(CORE).parent.parts
    for level, name in imports(file):
        if level:
            parts = [*package[: len(package) - level + 1], *name.split(".")]
            while parts and not (
                (CORE / Path(*parts)).is_dir() or (CORE / Path(*parts)).with_suffix(".py").is_file()
            ):
                parts.pop()  # the last part is a name inside the module
            yield "/".join(parts)


def roots(file: Path) -> set[str]:
    return {name.split(".")[0] for level, name in imports(file) if level == 0}


@pytest.mark.parametrize("file", modules(), ids=name_of)
def test_the_core_knows_neither_comfyui_nor_itself_by_an_absolute_name(file):
    """But for one folder, which runs in the child alone: there comfy itself, and none of ComfyUI's server."""
    allowed = {"comfy"} if HOST_SIDE in file.parents else set()
    assert not roots(file) & (COMFY - allowed | {"kohya_bridge", "tests", "scripts"})


@pytest.mark.parametrize("file", [each for each in modules() if "engines" not in each.parts], ids=name_of)
def test_nothing_above_the_engines_imports_torch_or_its_relatives(file):
    assert not roots(file) & HEAVY


@pytest.mark.parametrize(
    "file", [each for each in modules() if name_of(each).split("/")[0] in VOCABULARY], ids=name_of
)
def test_the_vocabulary_imports_only_the_vocabulary(file):
    assert {name.split("/")[0] for name in core_imports(file)} <= VOCABULARY


@pytest.mark.parametrize(
    "file", [each for each in modules() if name_of(each).split("/")[0] not in ORCHESTRATION], ids=name_of
)
def test_nothing_below_the_desk_imports_what_is_above_it(file):
    above = {name for name in core_imports(file) if name.split("/")[0] in ORCHESTRATION}
    assert not above


@pytest.mark.parametrize("file", modules(CORE / "engines"), ids=name_of)
def test_the_engines_never_import_each_other(file):
    """The trainer knows models by its protocol alone: neither engine, and no library of models."""
    mine = file.relative_to(CORE / "engines").parts[0]
    others = {
        "training": ("engines/native", "engines/kohya"),
        "native": ("engines/kohya",),
        "kohya": ("engines/native", "engines/training"),
    }.get(mine, ())
    assert not [name for name in core_imports(file) if name.startswith(others)] or not others
    assert mine != "training" or not roots(file) & {"diffusers"}


@pytest.mark.parametrize("name", CHILD_SIDE)
def test_what_a_foreign_trainer_loads_needs_the_standard_library_only(name):
    """Python without its site-packages stands for sd-scripts' interpreter, which has other ones than ours."""
    script = f"import sys; sys.path.insert(0, {str(PACK_ROOT)!r}); import kohya_bridge.{name}"
    answer = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_nodes_import_the_core_relatively_as_comfyui_needs_it():
    """`import nodes` alone is right: inside ComfyUI that name always means ComfyUI's own module."""
    for file in modules(PACK_ROOT / "nodes"):
        absolute = {name for level, name in imports(file) if level == 0}
        assert not [name for name in absolute if name.startswith(("kohya_bridge", "nodes."))], file.name


def test_a_fresh_interpreter_with_a_desk_in_it_has_neither_torch_nor_comfy():
    script = (
        "import sys, kohya_bridge.desk, kohya_bridge.engines.registry as registry\n"
        "registry.load_engines()\n"
        f"print(sorted(set(sys.modules) & {HEAVY | COMFY!r}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=PACK_ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_the_keeper_stays_small_while_it_waits():
    script = "import sys, kohya_bridge.keeper\nprint('pydantic' in sys.modules, 'yaml' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=PACK_ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["False", "False"]
