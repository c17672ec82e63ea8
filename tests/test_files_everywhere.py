"""Every file of a workspace is reached through `kohya_bridge/files/`: this reads the source and finds who goes around it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from kohya_bridge.workspace import PACK_ROOT

THE_MODULE = {
    f"kohya_bridge/{name}.py"
    for name in ("files/tree", "files/named", "files/places", "disk", "moving", "second_names")
}

# Calls that open, change or delete by a bare path, and who may make them: file -> call -> why no workspace's file is meant,
# or why it is safe. Whoever adds a line here has looked at where the path comes from.
REVIEWED: dict[str, dict[str, str]] = {
    "kohya_bridge/machine_key.py": {
        "os.open": "the person's own data folder",
        "os.link": "the person's own data folder",
        "os.replace": "the person's own data folder",
        ".mkdir": "the person's own data folder",
        ".unlink": "the person's own data folder",
        ".read_bytes": "the person's own data folder",
    },
    "kohya_bridge/kept_secrets.py": dict.fromkeys(
        ("os.open", "os.replace", ".mkdir", ".read_bytes"), "the person's own data folder"
    ),
    "kohya_bridge/forbidding.py": {".read_text": "the pack's own source"},
    "kohya_bridge/lint/repair.py": {"shutil.copy2": "between two places that the module has proven, with the file's times"},
    "kohya_bridge/lint/documentation.py": {".read_text": "the pack's own page"},
    "kohya_bridge/engines/train_log.py": {"os.open": "the null device"},
    "kohya_bridge/engines/captioner.py": {"open": "a model's folder"},
    "kohya_bridge/engines/kohya/checkout.py": {".read_text": "the pack", ".read_bytes": "sd-scripts' checkout"},
    "kohya_bridge/engines/kohya/doctor.py": {".read_text": "sd-scripts' checkout"},
    "kohya_bridge/engines/kohya/importing/origin.py": {".read_text": "the pack's own record"},
    "kohya_bridge/engines/kohya/surface.py": {".read_text": "sd-scripts' checkout"},
    "kohya_bridge/engines/kohya/staging.py": {"os.link": "into a folder that was made real and emptied just before"},
    "kohya_bridge/engines/kohya/tokenizers.py": {"shutil.copytree": "into a folder of the cache that is not there"},
    "kohya_bridge/engines/native/embed.py": {".read_text": "a model's folder"},
    "kohya_bridge/engines/native/gradient_check.py": {".write_text": "a temporary folder of our own"},
    "kohya_bridge/engines/native/gradients.py": {".read_text": "a temporary folder of our own"},
    "kohya_bridge/engines/native/host_side/loading.py": {".read_text": "ComfyUI's own source"},
    "kohya_bridge/engines/native/render.py": {
        ".mkdir": "a temporary folder of our own",
        ".replace": "a temporary folder of our own",
        ".read_text": "a temporary folder of our own",
    },
    "kohya_bridge/models/quantised_formats.py": {".read_text": "ComfyUI's own source"},
    "kohya_bridge/package/hub.py": {"os.link": "into a folder of the run that was made real just before"},
    "kohya_bridge/processes.py": {".read_text": "/proc"},
    "kohya_bridge/models/comfy_folders.py": {".read_text": "ComfyUI's own folder"},
    "kohya_bridge/device/graphics.py": {".read_text": "/sys"},
    "kohya_bridge/device/installed_torch.py": {".read_text": "torch's own version file"},
    "kohya_bridge/device/processor.py": {".read_text": "/proc"},
    "kohya_bridge/reproduce.py": {
        "os.symlink": "a workspace of its own, in place of nothing",
        "shutil.copytree": "a workspace of its own, in place of nothing",
    },
    "kohya_bridge/runs/held_prompt.py": {
        "os.replace": "within a folder that was read through Tree just before; whoever comes second must see that nothing is left",
    },
    "kohya_bridge/validation/renderer.py": {
        ".write_text": "a temporary folder of our own",
    },
}  # fmt: skip

MODULE_CALLS = {
    "os": {"open", "link", "symlink", "rename", "renames", "replace", "remove", "removedirs", "unlink", "rmdir", "mkdir",
           "makedirs", "truncate", "chmod", "mkfifo"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree", "make_archive", "unpack_archive"},
    "tempfile": {"mkstemp", "NamedTemporaryFile"},
    "json": set(),
}  # fmt: skip
PATH_CALLS = {
    "write_text", "write_bytes", "unlink", "rename", "rmdir", "mkdir", "symlink_to", "hardlink_to", "chmod",
}  # fmt: skip
ENCODINGS = {"utf-8", "utf-8-sig", "ascii"}


def sources() -> list[Path]:
    rooms = (PACK_ROOT / "kohya_bridge", PACK_ROOT / "nodes")
    files = [PACK_ROOT / "__init__.py", *(file for room in rooms for file in sorted(room.rglob("*.py")))]
    return [each for each in files if name_of(each) not in THE_MODULE]


def name_of(file: Path) -> str:
    return file.relative_to(PACK_ROOT).as_posix()


def bare_calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Calls that reach a file by its path alone, as `(what, line)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (what := _bare(node)):
            yield what, node.lineno


def _bare(call: ast.Call) -> str:
    if isinstance(call.func, ast.Name):
        return "open" if call.func.id == "open" else ""
    if not isinstance(call.func, ast.Attribute):
        return ""
    owner = call.func.value.id if isinstance(call.func.value, ast.Name) else ""
    name, first = call.func.attr, call.args[0] if call.args else None
    if owner in MODULE_CALLS:
        return f"{owner}.{name}" if name in MODULE_CALLS[owner] else ""
    if name in PATH_CALLS:
        return f".{name}"
    if name == "read_bytes" and first is None:
        return ".read_bytes"
    if name == "read_text" and (first is None or getattr(first, "value", None) in ENCODINGS):
        return ".read_text"
    if name == "replace" and len(call.args) == 1 and not call.keywords:
        return ".replace"
    if name == "open" and ((owner == "Image" and not _is_stream(first)) or isinstance(first, ast.Constant)):
        return "Image.open" if owner == "Image" else ".open"
    return ""


def _is_stream(argument: ast.expr | None) -> bool:
    is_bytes = isinstance(argument, ast.Call) and ast.unparse(argument.func).endswith("BytesIO")
    return is_bytes or (isinstance(argument, ast.Name) and argument.id in ("stream", "content"))


def test_nothing_goes_around_the_one_module_for_files():
    around = [
        f"{name_of(file)}:{line} {what}"
        for file in sources()
        for what, line in bare_calls(ast.parse(file.read_text("utf-8")))
        if what not in REVIEWED.get(name_of(file), {})
    ]
    assert not around, "Use files.Tree (open_named for what a person named), or review the call and list it."


def test_every_reviewed_call_is_still_made():
    made = {
        name_of(file): {what for what, _ in bare_calls(ast.parse(file.read_text("utf-8")))}
        for file in sources()
    }
    listed = {file: set(calls) for file, calls in REVIEWED.items()}
    assert listed == {file: made[file] & calls for file, calls in listed.items()}


@pytest.mark.parametrize(
    "line",
    (
        "open(x)",
        "x.open('rb')",
        "Path(x).read_text('utf-8')",
        "x.read_text()",
        "x.read_bytes()",
        "x.write_text('a')",
        "x.unlink(missing_ok=True)",
        "x.rename(y)",
        "x.replace(y)",
        "x.mkdir()",
        "os.replace(x, y)",
        "os.open(x, 0)",
        "shutil.rmtree(x)",
        "shutil.move(x, y)",
        "Image.open(x)",
        "Image.open(item.file, formats=FORMATS)",
    ),
)
def test_such_a_call_would_be_found(line):
    assert list(bare_calls(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    (
        "run.files.open(x)",
        "files.read_text(x)",
        "files.read_bytes(x, most=1)",
        "text.replace('a', 'b')",
        "replace(x, y=1)",
        "when.replace(tzinfo=None)",
        "Image.open(stream, formats=FORMATS)",
        "Image.open(io.BytesIO(raw))",
        "os.listdir(x)",
    ),
)
def test_what_is_harmless_is_left_alone(line):
    assert not list(bare_calls(ast.parse(line)))
