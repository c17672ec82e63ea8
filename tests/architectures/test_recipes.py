"""The recipes of CONTRIBUTING.md, carried out word for word in a copy of the tree: what a stranger writes is enough."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from kohya_bridge.workspace import PACK_ROOT

TEXT = (PACK_ROOT / "CONTRIBUTING.md").read_text("utf-8")
COPIED = (
    "kohya_bridge",
    "scripts",
    "tests/architectures",
    "tests/fixtures/headers.json",
    "pyproject.toml",
    "character_options.json",
    "docs/families.md",
    "training/kohya/configs",
)
CHECKS = (
    "tests/architectures/test_conformance.py",
    "tests/architectures/test_recognition.py",
    "tests/architectures/test_family_page.py",
)


def block(name):
    """The code under that mark in CONTRIBUTING.md."""
    found = re.search(rf"^ *```\w+ {name}\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE)
    return textwrap.dedent(found.group(1))


@pytest.fixture
def tree(tmp_path):
    for name in COPIED:
        source, target = PACK_ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target
            )  # with its bytecode: it is older than any change that is made here
        else:
            shutil.copy(source, target)
    return tmp_path


def put_line(file, before, line):
    """One line before another one, as a stranger adds it to a list."""
    text = file.read_text("utf-8")
    assert text.count(before) == 1
    file.write_text(text.replace(before, f"    {line}\n{before}"), encoding="utf-8")


def run(tree, *arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def say(tree, script):
    code, said = run(tree, "-c", textwrap.dedent(script))
    assert code == 0, said
    return said.split()


def add_family(tree):
    (tree / "kohya_bridge/architectures/pebble.py").write_text(block("family"), encoding="utf-8")
    put_line(tree / "kohya_bridge/architectures/__init__.py", '    "other",\n', '"pebble",')
    headers = tree / "tests/fixtures/headers.json"
    known = json.loads(headers.read_text("utf-8"))
    headers.write_text(json.dumps(known | json.loads(block("header"))), encoding="utf-8")


def write_what_is_written(tree):
    for line in block("written").split("\n"):
        if line:
            code, said = run(tree, *line.split()[1:])
            assert code == 0, said


def touched(tree, names):
    """`{file: (lines that are new, lines that are gone)}` of those below the tree, against the one that was copied."""
    found = {}
    for name in names:
        before, after = PACK_ROOT / name, tree / name
        old = before.read_text("utf-8").splitlines() if before.exists() else []
        changes = [each[0] for each in difflib.ndiff(old, after.read_text("utf-8").splitlines())]
        found[name] = changes.count("+"), changes.count("-")
    return found


def count_of(text, recipe):
    """The count that the page gives for a recipe, as its words."""
    return re.search(r"By hand that is ([^.;]*)[.;]", text[text.index(recipe) :]).group(1)


def test_a_family_is_added_by_one_file_one_line_and_its_header(tree):
    add_family(tree)
    write_what_is_written(tree)
    code, said = run(
        tree,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        "-k",
        "pebble or every or no_two or written",
        *CHECKS,
    )
    assert code == 0, said[-3000:]
    assert re.search(r"\b\d{2,} passed", said)
    assert say(
        tree,
        """
        from kohya_bridge.architectures import recognise
        from kohya_bridge.engines.registry import load_engines
        from kohya_bridge.plan import TrainingRequest
        from kohya_bridge.runs.engine_choice import choose_engine
        found = recognise({"pebble_in.weight": (1024, 64), "pebble_blocks.0.attn.qkv.weight": (3072, 1024)})
        choice = choose_engine(TrainingRequest(dataset="dots", base_model="x"), found.name, load_engines())
        print(found.name, choice.name)
        """,
    ) == ["pebble", "native"]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (
            'marks=(Marks(having=("pebble_in.", "pebble_blocks.0.")),)',
            'marks=(Marks(having=("double_blocks.0.",)),)',
        ),
        ('("text_encoder",), "lumina2"), "ae"', '("text_encoder",), "lumina2"), "vae"'),
        ('base_version="pebble"', 'base_version="flux1"'),
    ],
)
def test_a_family_that_is_a_lie_fails(tree, wrong, right):
    add_family(tree)
    file = tree / "kohya_bridge/architectures/pebble.py"
    text = file.read_text("utf-8")
    assert wrong in text
    file.write_text(text.replace(wrong, right), encoding="utf-8")
    code, said = run(tree, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--noconftest", *CHECKS)
    assert code == 1 and "failed" in said


def test_an_engine_is_added_by_one_file_and_one_line(tree):
    (tree / "kohya_bridge/engines/echo.py").write_text(block("engine"), encoding="utf-8")
    put_line(tree / "kohya_bridge/engine_names.py", '    "native": EngineName(', block("line").strip())
    assert say(
        tree,
        """
        from kohya_bridge.engine_names import CHOICES, VIEWS
        from kohya_bridge.engines.registry import load_engines
        from kohya_bridge.plan import TrainingRequest
        from kohya_bridge.runs.engine_choice import choose_engine
        ask = lambda family, engine="auto": choose_engine(
            TrainingRequest(dataset="dots", base_model="x", engine=engine), family, load_engines()
        ).name
        print(*CHOICES, *VIEWS, ask("flux1"), ask("sd15"), ask("sd15", "echo"))
        """,
    ) == [
        "auto",
        "echo",
        "native",
        "kohya",
        "echo",
        "native",
        "kohya",
        "sd-scripts",
        "echo",
        "native",
        "echo",
    ]


def test_what_a_stranger_touches_is_what_the_page_says(tree):
    add_family(tree)
    new, listed = "kohya_bridge/architectures/pebble.py", "kohya_bridge/architectures/__init__.py"
    hand = touched(tree, [new, listed])
    assert hand[listed] == (1, 0)
    header = len(block("header").strip().splitlines())
    told = f"1 new file of {hand[new][0]} lines, 1 line in a list, and {header} lines of a header"
    assert count_of(TEXT, "## Add a model family") == told
    write_what_is_written(tree)
    lines = touched(tree, ["docs/families.md"])["docs/families.md"]
    assert f"a template and {lines[0]} lines of the page" in " ".join(TEXT.split())
    assert (tree / "training/kohya/configs/pebble_character.yaml").is_file()
    engine = len(block("engine").splitlines())
    assert count_of(TEXT, "## Add an engine") == f"1 new file of {engine} lines and 1 line in a list"
