"""Render a reference workflow with and without its LoRA in a real ComfyUI, and compare with the last time.

    python -m scripts.regression --lora alice/alice-s00000800-1a2b3c4d.safetensors [--workflow FILE] [--url URL]

Run it after nodes, options or versions changed. The workflow is in API form; its LoRA loaders get the LoRA, once at their own
strengths and once at 0, and only what its pictures need is executed. Renders go to `regression/<time>/` of ComfyUI's base folder
and are compared with the newest earlier folder there, or with --against. Exit code 1 when a picture changed, or when the LoRA
changes nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kohya_bridge.errors import BridgeError, InvalidInput
from kohya_bridge.validation.regression import LORA_SUFFIX, compare_renders, difference_sheet

from .host.comfy_client import ComfyClient, outcome
from .host.comfy_host import ComfyHost
from .host.comfy_install import ROOT
from .host.leaving import Interrupted, interruptible
from .serve import BASE_DIR

DEFAULT_WORKFLOW = ROOT / "example_workflows" / "api" / "use_with_the_stock_loader.json"
LOADERS = {
    "LoraLoader": ("lora_name", ("strength_model", "strength_clip")),
    "LoraLoaderModelOnly": ("lora_name", ("strength_model",)),
    "WizdroidLoadTrainedLora": ("package", ("strength_model", "strength_clip")),
}
"""Input that names the LoRA, and inputs that are strengths, by node."""
PICTURE_NODES = ("SaveImage", "PreviewImage")

Prompt = dict[str, dict[str, Any]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lora", required=True, help="name as ComfyUI's LoRA list shows it")
    parser.add_argument(
        "--workflow", type=Path, default=DEFAULT_WORKFLOW, help="reference workflow in API form"
    )
    parser.add_argument("--url", help="a ComfyUI that runs already (default: one is started)")
    parser.add_argument("--base", type=Path, default=BASE_DIR, help="ComfyUI's base folder (default .comfy)")
    parser.add_argument("--against", type=Path, help="folder of earlier renders (default: the newest one)")
    chosen = parser.parse_args(arguments)
    folder = chosen.base.resolve() / "regression"
    before = chosen.against or newest(folder)
    into = folder / time.strftime("%Y%m%d-%H%M%S")
    try:
        prompt = reference_prompt(json.loads(chosen.workflow.read_text("utf-8")), lora=chosen.lora)
        with client_for(chosen.url, chosen.base) as client:
            render_both(client, prompt, into)
        return report(before, into)
    except BridgeError as error:
        print(f"{error.problem}\nFix: {error.fix}", file=sys.stderr)
        return 3


def reference_prompt(prompt: Prompt, *, lora: str) -> Prompt:
    """The workflow with `lora` in its loaders, cut down to what its pictures need.

    Raises:
        InvalidInput: it loads no LoRA, or shows no picture.
    """
    prompt = copy.deepcopy(prompt)
    loaders = [node for node in prompt.values() if node["class_type"] in LOADERS]
    pictures = [name for name, node in prompt.items() if node["class_type"] in PICTURE_NODES]
    if not loaders or not pictures:
        raise InvalidInput(
            "The reference workflow needs a LoRA loader and a Save Image node.",
            f"Loaders: {', '.join(LOADERS)}.",
        )
    for node in loaders:
        node["inputs"][LOADERS[node["class_type"]][0]] = lora
        node["inputs"].pop("run", None)
    return {name: prompt[name] for name in sorted(_needed(prompt, pictures))}


def without_lora(prompt: Prompt) -> Prompt:
    """The same workflow with every LoRA at strength 0."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        for strength in LOADERS.get(node["class_type"], ("", ()))[1]:
            node["inputs"][strength] = 0.0
    return prompt


def render_both(client: ComfyClient, prompt: Prompt, into: Path) -> None:
    """Save the workflow's pictures as `<node>-<n>.png`, those with the LoRA as `<node>-<n>.lora.png`."""
    for version, suffix in ((without_lora(prompt), ".png"), (prompt, LORA_SUFFIX)):
        history = client.run(version, timeout_s=3600)
        if outcome(history) != "success":
            raise InvalidInput(f"The workflow did not run: {outcome(history)}", "Run it in ComfyUI first.")
        for name, output in sorted(history["outputs"].items()):
            for number, image in enumerate(output.get("images", ())):
                file = into / f"{name}-{number}{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(client.get_bytes("view", **image))


def report(before: Path | None, into: Path) -> int:
    """Say what changed. The first time there is nothing to compare with, only whether the LoRA acts."""
    result = compare_renders(before or into, into)
    print(f"Rendered into {into}.")
    print(result.text if before else "Nothing to compare with yet; the next call compares with this one.")
    if not before:
        for name in result.idle_loras:
            print(f"{name}: the LoRA changes nothing.")
    sheet = difference_sheet(before, into, result) if before else None
    if sheet is not None:
        sheet.save(into / "what_changed.jpg")
        print(f"Shown in {into / 'what_changed.jpg'}.")
    return 0 if result.same else 1


def newest(folder: Path) -> Path | None:
    """The newest folder of renders, by its name."""
    found = [each for each in sorted(folder.glob("*")) if each.is_dir() and any(each.glob("*.png"))]
    return found[-1] if found else None


@contextmanager
def client_for(url: str | None, base_dir: Path) -> Iterator[ComfyClient]:
    """A client of the ComfyUI at `url`, or of one that lives as long as the block."""
    if url:
        yield ComfyClient(url)
        return
    with ComfyHost(base_dir.resolve(), log_name="regression.log") as host:
        yield host.client


def _needed(prompt: Prompt, names: list[str]) -> set[str]:
    """`names` and everything that they are wired to."""
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            links = [
                each for each in prompt[name]["inputs"].values() if isinstance(each, list) and len(each) == 2
            ]
            waiting += [str(link[0]) for link in links]
    return needed


if __name__ == "__main__":
    try:
        with interruptible():
            sys.exit(main())
    except Interrupted as interruption:
        sys.exit(interruption.exit_code)
