"""The demo: the example workflow, trained and rendered inside a real ComfyUI, with its progress in this terminal.

    python -m scripts.demo [--base DIR] [--again]

It puts the demo's base model together (docs/demo_base.md), starts ComfyUI headless, queues
`example_workflows/api/train_a_character.json` over HTTP, a little longer and with more pictures, and names what came of it. A second
call finds the run and returns at once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kohya_bridge.package import packages_of
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import Workspace

from .demo_base.assemble import assemble, is_current, packed_digest
from .demo_grid import before_and_after
from .host.comfy_client import outcome
from .host.comfy_host import ComfyHost
from .host.comfy_install import ROOT
from .serve import BASE_DIR

WORKFLOW_FILE = ROOT / "example_workflows" / "api" / "train_a_character.json"
BASE_MODEL = "wizdroid_demo_base.safetensors"
SETTINGS_NODE, SETTINGS_ID = "WizdroidTrainingSettings", "15"
RECORD_NAME = "demo.json"
GRID_NAME = "before_and_after.png"
SIDE = 128  # pixels: what the base model has learnt to draw
TRAINED = {
    "steps": 300,
    "resolution": SIDE,
    "rank": 16,
    "alpha": 16.0,
    "learning_rate": 0.001,
    "batch_size": 2,
}
SETTINGS: dict[str, Any] = {
    "conv_dim": 8,
    "conv_alpha": 8.0,
    "lr_scheduler": "cosine",
    "bucket_reso_steps": 16,  # the usual 64 leaves nothing of a tall picture at this size
    "diff_output_preservation_multiplier": 1.0,
}
SAMPLED = {"steps": 20, "cfg": 2.5}
PROMPTS = (
    "char_wren, 1woman, solo, headshot, light smile, blue background, simple background",
    "char_wren, 1woman, solo, close-up, surprised, open mouth, mint background, simple background",
    "cat, solo, teal background, simple background",
)
"""Two of the character, and something else. The grid adds the first without its trigger: these the LoRA has to leave alone."""
console = Console()


@dataclass(frozen=True)
class Made:
    """What the demo made, all below ComfyUI's base folder."""

    run: RunFolder
    lora_file: Path
    card_file: Path
    grid_file: Path
    render_file: Path

    def missing(self) -> list[Path]:
        files = (self.run.plan_file, self.lora_file, self.card_file, self.grid_file, self.render_file)
        return [each for each in files if not each.is_file()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, default=BASE_DIR, help="ComfyUI's base folder (default .comfy)")
    parser.add_argument("--again", action="store_true", help="queue the workflow even if its run is complete")
    chosen = parser.parse_args()
    base_dir = chosen.base.resolve()
    began = time.monotonic()
    made = None if chosen.again else recorded(base_dir)
    if made:
        console.print(
            f"Run {made.run.run_id} exists and is complete; `--again` would queue its workflow anew."
        )
    else:
        made = run_workflow(base_dir)
    show(made)
    console.print(f"Done in {time.monotonic() - began:.0f} s. `make serve` opens this ComfyUI in a browser.")


def recorded(base_dir: Path) -> Made | None:
    """What an earlier demo made with this very workflow, if all of it is still there."""
    file = base_dir / RECORD_NAME
    if not file.is_file():
        return None
    record = json.loads(file.read_text("utf-8"))
    made = Made(
        RunFolder(base_dir / record["run"]),
        *(base_dir / record[name] for name in ("lora", "card", "grid", "render")),
    )
    is_same = record["workflow"] == workflow_digest()
    return made if is_same and not made.missing() and made.run.state().status == "completed" else None


def run_workflow(base_dir: Path) -> Made:
    """Queue the workflow in a ComfyUI of its own, follow it, and note what it made. Exits when it fails."""
    host = ComfyHost(base_dir)
    host.prepare()
    provide_base_model(host.checkpoints_dir / BASE_MODEL)
    with console.status("Starting ComfyUI"):
        host.start()
    try:
        console.print(f"ComfyUI runs at {host.url}; its log is {host.log_file}")
        prompt = demo_workflow(host.client.get(f"object_info/{SETTINGS_NODE}")[SETTINGS_NODE])
        with Follower(titles_of(prompt)) as follower:
            history = host.client.follow(prompt, follower.take)
        ended = outcome(history)
        if ended != "success":
            console.print(
                f"[red]The workflow did not end well:[/red] {ended}\nThe log is {host.log_file}", markup=True
            )
            raise SystemExit(1)
        made = find_made(base_dir, history)
    finally:
        host.stop()
    note(base_dir, made)
    return made


def demo_workflow(settings_node: dict[str, Any] | None = None) -> dict[str, Any]:
    """The example workflow with the demo's numbers: enough steps to see the character, and pictures along the way.

    `settings_node` is what ComfyUI says of Training Settings; its inputs are left at their defaults but for a few.
    """
    prompt: dict[str, Any] = json.loads(WORKFLOW_FILE.read_text("utf-8"))
    size = {"width": SIDE, "height": SIDE}
    changes = {
        "WizdroidKohyaTrain": {**TRAINED, "settings": [SETTINGS_ID, 0]},
        "WizdroidLoraValidateGrid": {
            **SAMPLED,
            **size,
            "checkpoints": "100, 200, 300",
            "prompts": "\n".join(PROMPTS),
            "trigger_off": True,
        },
        "EmptyLatentImage": size,
        "KSampler": SAMPLED,
    }
    for node in prompt.values():
        node["inputs"].update(changes.get(node["class_type"], {}))
    inputs = settings_node["input"]["required"] if settings_node else {}
    defaults = {name: about[1]["default"] for name, about in inputs.items() if "default" in about[1]}
    prompt[SETTINGS_ID] = {
        "class_type": SETTINGS_NODE,
        "inputs": {**defaults, **SETTINGS},
        "_meta": {"title": "Training Settings"},
    }
    return prompt


def provide_base_model(file: Path) -> None:
    """Put the base model together, unless it is there as this version makes it."""
    if not is_current(file):
        with console.status("Putting the demo's base model together (about 300 MB)"):
            file.parent.mkdir(parents=True, exist_ok=True)
            assemble(file)


class Follower:
    """One line with a bar for each node that takes time."""

    def __init__(self, titles: dict[str, str]):
        self._titles = titles
        self._tasks: dict[str, TaskID] = {}
        self._phase = ""
        self._progress = Progress(
            TextColumn("{task.description:<44}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:>5.0f} of {task.total:<5.0f}"),
            TimeElapsedColumn(),
            console=console,
        )

    def __enter__(self) -> Follower:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def take(self, kind: str, data: dict[str, Any]) -> None:
        """One event of ComfyUI's websocket."""
        if kind == "progress_state":
            for node, state in data["nodes"].items():
                self._show(node, state)
        elif kind == "wizdroid.training" and data["event"]["kind"] == "phase":
            self._phase = data["event"]["name"]

    def _show(self, node: str, state: dict[str, Any]) -> None:
        """Waiting nodes are shown from their start on; one that waits for a trainer runs beside the others."""
        if state["state"] == "pending":
            return
        task = self._tasks.get(node)
        if task is None:
            task = self._tasks[node] = self._progress.add_task(self._titles.get(node, node), total=1)
        title = self._titles.get(node, node)
        if state["state"] == "finished":
            self._progress.update(task, completed=state["max"], total=state["max"], description=title)
            self._progress.stop_task(task)
        else:
            trains = title == "Kohya Train" and self._phase
            self._progress.update(
                task,
                completed=state["value"],
                total=state["max"],
                description=f"{title}: {self._phase}" if trains else title,
            )


def titles_of(prompt: dict[str, Any]) -> dict[str, str]:
    return {node: entry.get("_meta", {}).get("title", entry["class_type"]) for node, entry in prompt.items()}


def find_made(base_dir: Path, history: dict[str, Any]) -> Made:
    """Where the files are that the nodes told of in their outputs."""
    workspace = Workspace.at(base_dir / "training")
    run = RunFolder(max(workspace.run_dirs(), key=lambda each: each.stat().st_mtime))
    package = packages_of(run)[-1]
    lora_file = base_dir / "models" / "loras" / str(package["name"])
    grid_file = workspace.validation_dir(run.slug, run.run_id) / GRID_NAME
    before_and_after(workspace, run).save(grid_file)
    saved = [
        each
        for output in history["outputs"].values()
        for each in output.get("images", ())
        if each["type"] == "output"
    ]
    return Made(
        run=run,
        lora_file=lora_file,
        card_file=lora_file.with_name(f"{lora_file.stem}.model-card.md"),
        grid_file=grid_file,
        render_file=base_dir / "output" / saved[-1]["subfolder"] / saved[-1]["filename"],
    )


def note(base_dir: Path, made: Made) -> None:
    """Remember what was made, by names relative to the base folder, so that it can be moved."""
    names = {
        "run": made.run.dir,
        "lora": made.lora_file,
        "card": made.card_file,
        "grid": made.grid_file,
        "render": made.render_file,
    }
    record = {name: path.relative_to(base_dir).as_posix() for name, path in names.items()}
    (base_dir / RECORD_NAME).write_text(
        json.dumps({"workflow": workflow_digest(), **record}, indent=1), "utf-8"
    )


def workflow_digest() -> str:
    """Of all that decides what the demo makes: its workflow and its base model."""
    return hashlib.sha256((json.dumps(demo_workflow()) + packed_digest()).encode()).hexdigest()


def show(made: Made) -> None:
    state = made.run.state()
    console.print(f"\n{made.run.slug}, {state.step} steps:")
    for name, path in (
        ("LoRA", made.lora_file),
        ("Before and after", made.grid_file),
        ("Model card", made.card_file),
        ("Picture with the LoRA", made.render_file),
        ("Run folder", made.run.dir),
    ):
        console.print(f"  {name:<22} {path}", soft_wrap=True, highlight=False)
    if state.validations:
        first, last = state.validations[0], state.validations[-1]
        console.print(
            f"  {'Held-out loss':<22} {first['loss']:.4f} untrained, {last['loss']:.4f} at step {last['step']}"
        )


if __name__ == "__main__":
    main()
