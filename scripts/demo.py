"""The demo: the example workflow, trained and rendered inside a real ComfyUI, with its progress in this terminal.

    python -m scripts.demo [--base DIR] [--again]

It puts the demo's base model together (docs/demo_base.md), starts ComfyUI headless, queues the workflow of `demo_workflow.py` over
HTTP, and names what came of it. A second call finds the run and returns at once. Ctrl-C, SIGTERM or a closed terminal ends all that
it started; the next call goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kohya_bridge.daemon_pool import DaemonPool
from kohya_bridge.desk import Desk
from kohya_bridge.errors import BridgeError, Unavailable
from kohya_bridge.package import packages_of
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import Workspace

from .demo_base.assemble import assemble, is_current
from .demo_grid import before_and_after
from .demo_progress import Follower, Shown, shown_on
from .demo_workflow import BASE_MODEL, SETTINGS_NODE, demo_workflow, titles_of, workflow_digest
from .host.comfy_client import outcome
from .host.comfy_host import ComfyHost
from .host.leaving import Interrupted, end_everything, interruptible
from .serve import BASE_DIR

RECORD_NAME = "demo.json"
GRID_NAME = "before_and_after.png"


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
    base_dir, began = chosen.base.resolve(), time.monotonic()
    shown = shown_on()
    try:
        with interruptible():
            made = None if chosen.again else recorded(base_dir)
            if made:
                shown.say(
                    f"Run {made.run.run_id} exists and is complete; `--again` would queue its workflow anew."
                )
            else:
                made = Demo(base_dir, shown).run()
        for line in told(made):
            shown.say(line)
        shown.say(f"Done in {time.monotonic() - began:.0f} s. `make serve` opens this ComfyUI in a browser.")
    except Interrupted as interruption:
        sys.exit(interruption.exit_code)
    except BridgeError as error:
        shown.say(str(error))
        sys.exit(1)
    finally:
        shown.close()


class Demo:
    """One ComfyUI with one workflow in it, from the start to the end of both."""

    def __init__(self, base_dir: Path, shown: Shown):
        self.base_dir, self.shown = base_dir, shown
        self.host = ComfyHost(base_dir, mark=f"demo {base_dir}")
        self.follower: Follower | None = None

    def run(self) -> Made:
        """Queue the workflow, follow it, and note what it made. Whatever way this ends, nothing that it started goes on.

        Raises:
            BridgeError: ComfyUI or the workflow did not do what was asked.
            Interrupted: the person wanted it to end.
        """
        self.host.prepare()
        try:
            history = self._followed()
            made = find_made(self.base_dir, history)
        except Interrupted:
            self._end(interrupted=True)
            raise
        except BaseException:
            self._end()
            raise
        self.host.stop()
        note(self.base_dir, made)
        return made

    def _followed(self) -> dict[str, Any]:
        """The history of the workflow, which ended well."""
        self._start()
        self.shown.say(f"ComfyUI runs at {self.host.url}; its log is {self.host.log_file}")
        prompt = demo_workflow(self.host.client.get(f"object_info/{SETTINGS_NODE}")[SETTINGS_NODE])
        self.follower = Follower(titles_of(prompt), self.shown)
        try:
            history = self.host.client.follow(prompt, self.follower.take)
        except OSError as error:
            raise Unavailable(
                f"ComfyUI is gone: {error}", f"Its log is {self.host.log_file}; `make demo` goes on."
            ) from None
        ended = outcome(history)
        if ended != "success":
            raise Unavailable(f"The workflow did not end well: {ended}", f"The log is {self.host.log_file}.")
        return history

    def _start(self) -> None:
        """Start ComfyUI and meanwhile put the base model together, unless it is there as this version makes it: each keeps one core
        busy for seconds. Whoever interrupts this waits for neither; half a base model is made anew the next time."""
        file = self.host.checkpoints_dir / BASE_MODEL
        if is_current(file):
            with self.shown.doing("Starting ComfyUI"):
                self.host.start()
            return
        with self.shown.doing("Starting ComfyUI, and putting the demo's base model together (about 300 MB)"):
            file.parent.mkdir(parents=True, exist_ok=True)
            made = DaemonPool(1, name="base-model").submit(assemble, file)
            self.host.start()
            made.result()

    def _end(self, *, interrupted: bool = False) -> None:
        if interrupted:
            self.shown.say("Ending what the demo started.")
        began = time.monotonic()
        workspace = Workspace.at(self.base_dir / "training")
        trained = end_everything(
            self.host, Desk(workspace), waiting=self.follower.queued_runs if self.follower else ()
        )
        if interrupted:
            steps = [f" The training keeps its {each.state().step} steps." for each in trained]
            self.shown.say(
                f"All of it has ended, after {time.monotonic() - began:.1f} s.{''.join(steps)} `make demo` goes on from here."
            )


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


def told(made: Made) -> list[str]:
    """What was made, in lines for a person."""
    state = made.run.state()
    lines = [f"{made.run.slug}, {state.step} steps:"]
    for name, path in (
        ("LoRA", made.lora_file),
        ("Before and after", made.grid_file),
        ("Model card", made.card_file),
        ("Picture with the LoRA", made.render_file),
        ("Run folder", made.run.dir),
    ):
        lines.append(f"  {name:<22} {path}")
    if state.validations:
        first, last = state.validations[0], state.validations[-1]
        figures = f"{first['loss']:.4f} untrained, {last['loss']:.4f} at step {last['step']}"
        lines.append(f"  {'Held-out loss':<22} {figures}")
    return lines


if __name__ == "__main__":
    main()
