"""The pack keeps the Comfy Registry's rules: complete metadata, no surprises in a user's environment, no code from text."""

from __future__ import annotations

import ast
import re
import sys

import pytest
import yaml

from kohya_bridge.workspace import PACK_ROOT
from scripts.footprint import shipped_files

if sys.version_info >= (3, 11):
    import tomllib

    PROJECT = tomllib.loads((PACK_ROOT / "pyproject.toml").read_text("utf-8"))
else:
    pytest.skip("tomllib needs Python 3.11", allow_module_level=True)

SHIPPED = [
    file for folder in ("kohya_bridge", "nodes") for file in sorted((PACK_ROOT / folder).rglob("*.py"))
] + [PACK_ROOT / "__init__.py"]


def test_the_project_table_is_complete():
    project, comfy = PROJECT["project"], PROJECT["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9-]{2,99}", project["name"]) and "comfyui" not in project["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["description"] and project["requires-python"] == ">=3.10"
    assert (PACK_ROOT / project["license"]["file"]).is_file()
    assert project["urls"]["Repository"].startswith("https://github.com/")
    assert comfy["PublisherId"] and comfy["DisplayName"]


def test_the_version_is_the_packages_own_and_stands_in_the_changelog():
    version = PROJECT["project"]["version"]
    package = (PACK_ROOT / "kohya_bridge" / "__init__.py").read_text("utf-8")
    assert f'"{version}"' in package
    assert f"## [{version}]" in (PACK_ROOT / "CHANGELOG.md").read_text("utf-8")


def test_what_the_registry_hands_out_is_whole_and_small():
    files = shipped_files()
    named = {file.relative_to(PACK_ROOT).as_posix() for file in files}
    assert {"__init__.py", "pyproject.toml", "character_options.json", "web/js/index.js", "LICENSE"} <= named
    assert not [name for name in named if name.startswith(("tests/", ".ci/", "third_party/"))]
    assert sum(file.stat().st_size for file in files) < 6_500_000


def test_requirements_set_no_upper_bounds_and_leave_torch_to_the_host():
    wanted = PROJECT["project"]["dependencies"]
    assert [line for line in wanted if re.search(r"[=<~!]=?\d|==", line.replace(">=", ""))] == []
    names = {re.match(r"[\w-]+", line).group() for line in wanted}
    assert not names & {"torch", "torchvision", "torchaudio", "xformers", "comfyui-frontend-package"}


def test_both_lists_of_requirements_are_the_same():
    lines = (PACK_ROOT / "requirements.txt").read_text("utf-8").splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    assert sorted(listed) == sorted(PROJECT["project"]["dependencies"])


def test_requirements_can_be_installed_line_by_line():
    """ComfyUI-Manager runs one `pip install` for each line: options and includes would be lost."""
    for line in (PACK_ROOT / "requirements.txt").read_text("utf-8").splitlines():
        assert not line.startswith("-")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.relative_to(PACK_ROOT).as_posix())
def test_nothing_that_is_shipped_runs_text_as_code_or_installs_packages(file):
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            owner = (
                node.func.value.id
                if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
                else ""
            )
            assert not (isinstance(node.func, ast.Name) and called in ("eval", "exec")), f"line {node.lineno}"
            assert (owner, called) not in {
                ("os", "system"),
                ("torch", "load"),
                ("pickle", "load"),
                ("pickle", "loads"),
            }
            shell = [each.value for each in node.keywords if each.arg == "shell"]
            assert not any(isinstance(value, ast.Constant) and value.value for value in shell)
        if isinstance(node, (ast.List, ast.Tuple)):
            words = [each.value for each in node.elts if isinstance(each, ast.Constant)]
            assert not ("pip" in words and "install" in words)


@pytest.mark.parametrize("name", ["publish", "nightly", "systems", "tests"])
def test_the_workflows_of_the_repository_are_valid_and_name_files_that_exist(name):
    text = (PACK_ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["jobs"] and workflow[True]  # YAML reads the key `on` as true
    makefile = (PACK_ROOT / "Makefile").read_text("utf-8")
    assert all(f"\n{target}:" in makefile for target in re.findall(r"\bmake ([a-z-]+)$", text, re.MULTILINE))
    for module in re.findall(r"python -m (scripts\.[\w.]+)", text):
        assert (PACK_ROOT / (module.replace(".", "/") + ".py")).is_file()


def test_what_is_left_out_of_the_archive_is_nothing_that_the_pack_imports():
    ignored = (PACK_ROOT / ".comfyignore").read_text("utf-8").splitlines()
    needed = (
        "kohya_bridge",
        "nodes",
        "web",
        "character_options.json",
        "requirements.txt",
        "training/kohya",
        "example_workflows",
    )
    left_out = [line.strip("/") for line in ignored if line and not line.startswith("#")]
    assert not any(line.startswith(needed) or line == "training" for line in left_out)
