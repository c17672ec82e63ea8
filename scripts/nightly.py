"""Check that what people edit still fits together: datasets, configs, character options, example workflows.

    python -m scripts.nightly [--workspace DIR]

Every dataset is linted, every config must give a valid plan, every trigger of the character options must be usable and agree
with the dataset of its name, and example workflows may use only nodes and choices that exist. Needs neither torch nor ComfyUI.
Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.building.character_options import load_options
from kohya_bridge.dataset import find_dataset, list_datasets
from kohya_bridge.engine_names import CHOICES as ENGINE_CHOICES
from kohya_bridge.errors import BridgeError
from kohya_bridge.lint import lint_dataset
from kohya_bridge.plan import make_settings, read_request
from kohya_bridge.presets import PRESETS
from kohya_bridge.workspace import PACK_ROOT, Workspace

PICTURES_OF_AN_AVERAGE_SET = 30
CHOICES = {"preset": set(PRESETS), "engine": set(ENGINE_CHOICES), "mode": {"wait", "background"}}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workspace", type=Path, default=None, help="workspace (default: training/ of this checkout)"
    )
    chosen = parser.parse_args(arguments)
    workspace = Workspace.at(chosen.workspace) if chosen.workspace else Workspace.default()
    problems = list(everything_wrong(workspace))
    for each in problems:
        print(each)
    print(
        f"{len(problems)} problems." if problems else "Datasets, configs, options and workflows fit together."
    )
    return 1 if problems else 0


def everything_wrong(workspace: Workspace, *, pack_root: Path = PACK_ROOT) -> Iterator[str]:
    """Every problem as a sentence that begins with its file or dataset."""
    yield from wrong_datasets(workspace)
    for folder in dict.fromkeys((pack_root / "training" / "kohya" / "configs", workspace.configs_dir)):
        yield from wrong_configs(folder)
    yield from wrong_options(workspace)
    yield from wrong_workflows(pack_root)


def wrong_datasets(workspace: Workspace) -> Iterator[str]:
    """Lint errors; warnings are for people to weigh."""
    for slug in list_datasets(workspace):
        for finding in lint_dataset(find_dataset(workspace, slug)).errors:
            yield f"dataset {slug}: {finding.rule} {finding.subject}: {finding.problem}"


def wrong_configs(folder: Path) -> Iterator[str]:
    """Configs that give no valid training settings for their family."""
    for file in sorted(folder.glob("*.yaml")):
        try:
            request = read_request(file)
            names = list(ARCHITECTURES) if request.family == "auto" else [request.family]
            for name in names:
                make_settings(request, name, images=PICTURES_OF_AN_AVERAGE_SET)
        except BridgeError as error:
            yield f"config {file.name}: {error.problem}"


def wrong_options(workspace: Workspace) -> Iterator[str]:
    """Options that can't be read, and triggers that differ from the dataset of the same name."""
    try:
        options = load_options(workspace)
    except BridgeError as error:
        yield f"character_options.json: {error.problem}"
        return
    for name, trigger in options.lora_trigger.items():
        for slug in {name, trigger} & set(list_datasets(workspace)):
            tag = find_dataset(workspace, slug).trigger
            if tag and tag != trigger:
                yield f"character_options.json: {name} is called by {trigger!r}, its dataset {slug} by {tag!r}"


def wrong_workflows(pack_root: Path) -> Iterator[str]:
    """Workflows that can't be read, or name nodes or choices of this pack that do not exist."""
    known = known_nodes(pack_root)
    for file in sorted((pack_root / "example_workflows").rglob("*.json")):
        where = f"workflow {file.relative_to(pack_root).as_posix()}"
        try:
            nodes = list(_nodes(json.loads(file.read_text("utf-8"))))
        except (ValueError, KeyError, TypeError, AttributeError):
            yield f"{where}: it is no workflow"
            continue
        for kind, inputs in nodes:
            if kind.startswith("Wizdroid") and kind not in known:
                yield f"{where}: there is no node {kind}"
            if kind == "WizdroidKohyaTrain":
                for name, choices in CHOICES.items():
                    if inputs.get(name, next(iter(choices))) not in choices:
                        yield f"{where}: {inputs[name]!r} is no {name}"


def known_nodes(pack_root: Path) -> set[str]:
    """Ids of the pack's nodes, read from their sources: importing them needs ComfyUI."""
    text = "".join(file.read_text("utf-8") for file in sorted((pack_root / "nodes").glob("*.py")))
    return set(re.findall(r"[\"'](Wizdroid\w+)[\"']", text))


def _nodes(workflow: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(type, inputs by name)` of a workflow in the canvas's form or the API's."""
    if isinstance(workflow.get("nodes"), list):
        for node in workflow["nodes"]:
            yield node["type"], {}
    else:
        for node in workflow.values():
            yield node["class_type"], node["inputs"]


if __name__ == "__main__":
    sys.exit(main())
