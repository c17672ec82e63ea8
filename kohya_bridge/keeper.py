"""The keeper: a small process beside every trainer, which starts it, ends it when asked, and closes the books.

In: `python -m kohya_bridge.keeper RUN_DIR`, and one line of JSON on its standard input: the command to start, or the trainer to
adopt. Nothing that lies in the run's folder is started. Out: `run.json`, the trainer's exit code, signals when `control/stop`
says so, and in the end the settled run and the next one in line. Detached, so that closing ComfyUI stops neither a run nor
the queue. It knows nothing of training, and loads the rest of the pack only when the trainer is gone: while it waits it holds
some 20 MiB.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import json_text, processes
from .counted import counted
from .event_reader import last_event
from .files import Tree
from .processes import ProcessMark
from .reasons import reason_of
from .stop_ladder import AT_ONCE, Ladder, Rung, requested_rungs

POLL_S = 0.1
LEFTOVER_GRACE_S = 5.0
FOREVER = -1.0
LINGER_S = 60.0


class Keeper:
    """The life of one attempt, from outside the trainer's process."""

    def __init__(self, run_dir: Path, *, linger_s: float = LINGER_S):
        """`linger_s` is how long a trainer may live on after its `run_finished`."""
        self.dir = run_dir
        self.files = Tree(run_dir)
        self.linger_s = linger_s
        self._look_again = 0.0
        self.trainer: subprocess.Popen[bytes] | None = None
        self.mark: ProcessMark | None = None
        self.ladder: Ladder | None = None

    def start(self, told: dict[str, Any]) -> str:
        """Start the trainer that `told` names. Returns "" or why it could not be started."""
        try:
            with self.files.append("train.log") as log:
                self.trainer = processes.start_detached(
                    told["argv"],
                    cwd=told["cwd"],
                    env={**os.environ, **told["environment"], processes.RUN_VARIABLE: str(self.dir)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        except OSError as error:
            return f"{error.filename or told['argv'][0]}: {reason_of(error)}."
        self.mark = processes.mark(self.trainer.pid)
        self._sign({**self.mark.to_json(), "argv": told["argv"], "attempt": told["attempt"]})
        return ""

    def adopt(self, identity: dict[str, Any]) -> str:
        """Take over a trainer whose keeper was killed. Its exit code will stay unknown: only a parent is told."""
        self.mark = ProcessMark(*(identity[name] for name in ("pid", "started", "boot_id", "start_ticks")))
        if not processes.was_started_for(self.mark.pid, self.dir):
            return "The process that was named does not train this run."
        self._sign(identity)
        self.tell("A new keeper watches over the trainer; the former one is gone.")
        return ""

    def _sign(self, identity: dict[str, Any]) -> None:
        identity = {**identity, "keeper": processes.mark(os.getpid()).to_json()}
        self.files.write("run.json", json_text.write(identity, indent=1))

    def wait(self) -> int | None:
        """Wait for the trainer's end, climbing the stop ladder when a stop is asked for. Returns its exit code."""
        while not self._ended():
            self._look_for_stop()
            self._look_for_lingering()
            if self.ladder:
                self.ladder.step()
            time.sleep(POLL_S)
        self._end_leftovers()
        return self.trainer.wait() if self.trainer else None

    def _ended(self) -> bool:
        """Whether the trainer has ended, leaving it unreaped where the system can: its pid then names its group still."""
        assert self.mark is not None
        if self.trainer is None:
            return not processes.lives(self.mark)
        if not hasattr(os, "waitid"):  # Windows, and macOS before Python 3.13
            return self.trainer.poll() is not None
        return os.waitid(os.P_PID, self.mark.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _look_for_stop(self) -> None:
        """Begin a ladder on the first request; a request to stop at once replaces a patient one."""
        rungs = requested_rungs(self.dir / "control" / "stop")
        if rungs is None or (self.ladder and (self.ladder.rungs == rungs or self.ladder.rungs == AT_ONCE)):
            return
        self._climb(rungs)

    def _look_for_lingering(self) -> None:
        """End a trainer that has told its end and does not leave, such as one that hangs in the GPU driver's clean-up."""
        if self.ladder or time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + self.linger_s / 6
        try:
            last = last_event(self.dir / "events.jsonl")
        except OSError:
            return  # whatever became of that file, the trainer's life is told by the process
        if last and last["kind"] == "run_finished" and time.time() - last["time"] > self.linger_s:
            self.tell("The trainer has reported its end, but its process goes on.")
            self._climb(AT_ONCE)

    def _climb(self, rungs: tuple[Rung, ...]) -> None:
        assert self.mark is not None
        pid = self.mark.pid
        self.ladder = Ladder(
            rungs,
            send=lambda how: processes.signal_group(pid, how),
            tell=self.tell,
            file=self.dir / "stopping.json",
        )

    def _end_leftovers(self) -> None:
        """End what the trainer started and left behind: it would go on holding GPU memory."""
        if self.trainer is None:
            return  # the trainer's pid is reaped and may be given to somebody else: no group to speak of
        pid = self.trainer.pid
        for how in ("terminate", "kill"):
            left = processes.group_members(pid)
            if not left:
                return
            self.tell(f"The trainer left {counted(len(left), 'process', 'processes')} behind; sending {how}.")
            processes.signal_group(pid, how)
            until = time.monotonic() + LEFTOVER_GRACE_S
            while time.monotonic() < until and processes.group_members(pid):
                time.sleep(POLL_S)

    def tell(self, sentence: str) -> None:
        """A line of ours in `train.log`, the one place that is open to two writers while the trainer lives."""
        line = f"[keeper {time.strftime('%H:%M:%S')}] {sentence}\n"
        with suppress(OSError), self.files.append("train.log") as log:  # a full disk ends no watch
            log.write(line.encode())


def main(run_dir: Path) -> int:
    """Start or adopt the trainer of a run folder and stay until the run is settled."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Whoever wants the trainer stopped leaves a request. A handler, not SIG_IGN: the trainer would inherit that.
        signal.signal(number, _stay)
    line = sys.stdin.readline()
    if not line:
        return _answer(
            "It was not told what to start; restart ComfyUI, which may run a version before this one."
        )
    told = json.loads(line)
    keeper = Keeper(run_dir)
    failure = keeper.adopt(told["adopt"]) if "adopt" in told else keeper.start(told)
    if _answer(failure):
        return 1
    code = keeper.wait()
    # Only now: pydantic, and the engines that make the next run's command, weigh more than this whole process.
    from .steering.slot import Slot

    Slot.of_run(run_dir, patience_s=FOREVER, engines=told["engines"]).close_attempt(run_dir, exit_code=code)
    return 0


def _answer(failure: str) -> int:
    """Tell whoever started us, and waits for this line, how it went; they may be gone already. Returns an exit code."""
    with suppress(OSError):
        print(json_text.write({"failure": failure}), flush=True)
    with suppress(OSError):
        sys.stdout.close()
    return 1 if failure else 0


def _stay(number: int, frame: object) -> None:
    """Take no notice of a signal that was meant for the terminal's foreground."""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
