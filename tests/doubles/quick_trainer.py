"""The child of `QuickEngine`: the child contract with arithmetic in place of training. Standard library only.

A LoRA is a handful of numbers that depend on every step before, so a resume that loses or repeats a step gives other bytes.
"""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kohya_bridge.engines.best import leave_best, tell_best
from kohya_bridge.engines.child import Child, StopRequested
from kohya_bridge.files import Tree
from kohya_bridge.selection import why_stop

WEIGHTS = 64


class QuickTraining:
    def __init__(self, child: Child):
        self.child, self.report = child, child.report
        self.plan = child.told["plan"]
        self.numbers: dict[str, Any] = self.plan["settings"]
        self.quick = child.told["quick"]
        self.mode = self.quick["mode"]
        self.total = self.numbers["max_train_steps"]
        self.step, self.value = 0, float(self.numbers["seed"] % 97)

    def train(self) -> None:
        """As the native engine does: what an attempt that was cut short owes is done before the first step."""
        final = self.child.final_before(measured=True)
        if final is not None:
            self.report.started(engine="native", total=self.total, resumed_from=final["step"])
            self.child.finish_with(final)
            return
        self._load_state()
        self.report.started(engine="native", total=self.total, resumed_from=self.step)
        if self.mode == "grandchild":
            self._start_grandchild()
        self.report.phase("caching", done=1, total=1)
        state = self.report.told()
        saved = {row["step"]: row for row in state.checkpoints if self.child.is_intact(row)}
        over = bool(self.step) and self._close(saved, {row["step"] for row in state.validations})
        self.report.phase("training")
        self.child.controls.training = True
        while not over:
            self._one_step()
            over = self._close({}, set())
            if not over:
                self._look_at_controls()
        self.child.controls.training = False

    def _close(self, saved: dict[int, dict[str, Any]], measured: set[int]) -> bool:
        """The boundary after a step, without what is `saved` and `measured` already. True at the end."""
        last, every = self.step == self.total, self.numbers["save_every_n_steps"]
        if not last and not (every and self.step % every == 0):
            return False
        row = saved.get(self.step)
        if row and row["final"]:
            self.child.take_final(row)
        elif last or not row:
            self._save(final=last, with_state=not row)
        if self.step not in measured:
            self._validate()
        early = "" if last else self._why_stop()
        if early and not (row and row["final"]):
            self._save(final=True, with_state=False)
        choice = tell_best(self.child.run_dir, self.report.told(), self.report.log.write)
        if early:
            self.report.notice(early, level="info", code="early_stop")
        if (last or early) and choice:
            leave_best(self.child.run_dir, choice)
        return bool(last or early)

    def _one_step(self) -> None:
        if self.step == self.quick["at"]:
            self._misbehave()
        time.sleep(self.quick["seconds_per_step"])
        self.step += 1
        self.value = (self.value * 1.25 + self.step) % 97.0
        if self.mode == "chatter":
            print("x" * 1023 + "\n", end="" if self.step % 2 else "\n", flush=True)
            sys.stdout.write(("y" * 1023 + "\n") * 2048)
        loss = 0.1 + 0.5 / (1 + self.step)
        self.report.progress(self.step, loss=loss, epoch=1, lr={"unet": self.numbers["unet_lr"]})

    def _misbehave(self) -> None:
        if self.mode == "exit":
            print("the trainer gives up", flush=True)
            os._exit(7)
        if self.mode == "crash":
            raise RuntimeError("the trainer broke on purpose")
        if self.mode == "die_mid_line":
            with open(self.child.run_dir / "events.jsonl", "ab", buffering=0) as events:
                events.write(b'{"v":1,"seq":99,"kind":"progr')
            os.kill(os.getpid(), signal.SIGKILL)

    def _look_at_controls(self) -> None:
        if self.mode == "ignore_signals":
            return
        wanted = self.child.hold_still(poll_s=0.02)
        if "checkpoint" in wanted:
            self._save(final=False)
            self.child.controls.taken("checkpoint")
            self.report.log.write("control", action="checkpoint", stage="done")
        if "stop" in wanted:
            self.report.log.write("control", action="stop", stage="acknowledged")
            self._save(final=False)
            raise StopRequested

    def _validate(self) -> None:
        loss = 0.2 + abs(self.step - self.total * 0.6) / self.total
        row = {
            "step": self.step,
            "loss": loss,
            "loss_low": loss - 0.01,
            "loss_high": loss + 0.01,
            "psnr": 20 - loss,
        }
        self.report.log.write("validation", **row, train_loss=loss, items=3)

    def _why_stop(self) -> str:
        why = why_stop(
            self.report.told().validations,
            patience=self.numbers["early_stop_patience"],
            min_delta=self.numbers["early_stop_min_delta"],
            target_psnr=self.numbers["target_psnr"],
        )
        return why or ""

    def _save(self, *, final: bool, with_state: bool = True) -> None:
        if self.mode == "lie" and final:
            return
        self.report.phase("saving")
        files = Tree(self.child.run_dir)
        written = files.path("checkpoints/.writing.tmp")
        files.create(written).close()
        if self.mode == "disk_full":
            written.unlink()
            written.symlink_to("/dev/full")
        with open(written, "wb") as stream:
            stream.write(self._lora_bytes(final=final))
        self.report.checkpoint(written, self.step, name=self.plan["character"], final=final)
        if self.numbers["save_state"] and with_state:
            with self.report.state_folder(self.step) as folder:
                (folder / "state.json").write_text(json.dumps({"step": self.step, "value": self.value}))
            self.report.state(self.step)
        self.report.phase("training")

    def _lora_bytes(self, *, final: bool) -> bytes:
        return lora_bytes(self.step, self.value, broken=final and self.mode == "nan")

    def _load_state(self) -> None:
        if self.child.told["resume"]:
            state = json.loads((Path(self.child.told["resume"]) / "state.json").read_text("utf-8"))
            self.step, self.value = state["step"], state["value"]

    def _start_grandchild(self) -> None:
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (self.child.run_dir / "grandchild.pid").write_text(str(grandchild.pid))


def lora_bytes(step: int, value: float, *, broken: bool = False) -> bytes:
    """A LoRA of one module of rank 4 under its kohya name: down, up and alpha, made of sines from `value` on."""
    numbers = [math.sin(value + index) for index in range(2 * WEIGHTS)]
    if broken:
        numbers[5] = math.nan
    data = struct.pack(f"<{2 * WEIGHTS + 1}e", *numbers, 4.0)
    module = "lora_unet_down_blocks_0_attentions_0_proj_in"
    half, whole = 2 * WEIGHTS, 4 * WEIGHTS
    header: dict[str, Any] = {
        "__metadata__": {"ss_steps": str(step), "ss_network_dim": "4"},
        f"{module}.lora_down.weight": tensor([4, WEIGHTS // 4], 0, half),
        f"{module}.lora_up.weight": tensor([WEIGHTS // 4, 4], half, whole),
        f"{module}.alpha": tensor([], whole, whole + 2),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}


def main(run_dir: Path) -> int:
    mode = json.loads((run_dir / "child.json").read_text("utf-8"))["quick"]["mode"]
    if mode == "no_package":
        import a_package_that_nobody_has  # noqa: F401
    child = Child(run_dir)
    training = QuickTraining(child)
    if mode != "ignore_signals":
        return child.guarded(training.train)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    training.train()
    child.report.finished("completed")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
