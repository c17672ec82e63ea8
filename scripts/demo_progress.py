"""How far the demo is: bars in a terminal, lines in a file or a pipe.

In: what is being done, and the events of ComfyUI's websocket. Out: text on the standard output. In a file there is a line for whatever
begins or ends, and one at least every `EVERY_S` seconds, so that nobody takes a long wait for a hang.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

EVERY_S = 10.0
WORTH_A_LINE_S = 2.0


class Shown(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """A line of its own."""

    def doing(self, what: str) -> Any:
        """A context manager around something that takes a while and has no numbers."""

    def node(self, title: str, *, value: float, total: float, ended: bool) -> None:
        """How far a node of the workflow is."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def shown_on(stream: TextIO = sys.stdout) -> Shown:
    """Bars where a person looks on, lines where a file or a program does."""
    return Bars() if stream.isatty() else Lines(stream)


class Bars:
    """One line with a bar for each node that takes time."""

    def __init__(self) -> None:
        self._console = Console()
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:<44}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:>5.0f} of {task.total:<5.0f}"),
            TimeElapsedColumn(),
            console=self._console,
        )

    def say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def doing(self, what: str) -> Any:
        return self._console.status(what)

    def node(self, title: str, *, value: float, total: float, ended: bool) -> None:
        self._progress.start()
        name = title.partition(":")[0]
        task = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = self._progress.add_task(title, total=1)
        self._progress.update(task, completed=total if ended else value, total=total, description=title)
        if ended:
            self._progress.stop_task(task)

    def close(self) -> None:
        self._progress.stop()


class Lines:
    """Plain lines, each with the seconds since the start. Closed by `close`, whatever it was about to say."""

    def __init__(self, stream: TextIO, *, every_s: float = EVERY_S):
        self._stream, self._every_s = stream, every_s
        self._began = time.monotonic()
        self._changing = threading.Condition()
        self._going_on: dict[str, tuple[float, str]] = {}  # name to since when, and how it is told
        self._told_at = self._began
        self._is_closed = False
        threading.Thread(target=self._remind, name="progress", daemon=True).start()

    def say(self, text: str) -> None:
        with self._changing:
            self._write(text)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        self._go_on(what, what)
        try:
            yield
        finally:
            self._ended(what)

    def node(self, title: str, *, value: float, total: float, ended: bool) -> None:
        name = title.partition(":")[0]
        far = f"{title}, {value:.0f} of {total:.0f}" if total > 1 else title
        if not ended:
            self._go_on(name, far)
        elif (lasted_s := self._ended(name)) > WORTH_A_LINE_S:
            self.say(f"{name}: done in {lasted_s:.0f} s")

    def close(self) -> None:
        with self._changing:
            self._is_closed = True
            self._changing.notify()

    def _go_on(self, name: str, far: str) -> None:
        """Tell what begins at once; how far it is when its time has come."""
        with self._changing:
            begins = name not in self._going_on
            since = time.monotonic() if begins else self._going_on[name][0]
            self._going_on[name] = since, far
            if begins:
                self._write(far)

    def _ended(self, name: str) -> float:
        """The seconds that it went on; 0 for what was never told of."""
        with self._changing:
            since, _ = self._going_on.pop(name, (time.monotonic(), ""))
            return time.monotonic() - since

    def _remind(self) -> None:
        with self._changing:
            while not self._is_closed:
                self._changing.wait(max(0.05, self._told_at + self._every_s - time.monotonic()))
                is_due = time.monotonic() >= self._told_at + self._every_s
                if is_due and not self._is_closed:
                    self._write("; ".join(far for _, far in self._going_on.values()) or "working")

    def _write(self, text: str) -> None:
        self._told_at = time.monotonic()
        print(f"{self._told_at - self._began:5.0f} s  {text}", file=self._stream, flush=True)


class Follower:
    """Tells of a prompt by the events of ComfyUI's websocket, and remembers which runs they were about."""

    def __init__(self, titles: dict[str, str], shown: Shown):
        self._titles, self._shown = titles, shown
        self._phase = ""
        self.queued_runs: set[str] = set()

    def take(self, kind: str, data: dict[str, Any]) -> None:
        """One event."""
        if kind == "progress_state":
            for node, state in data["nodes"].items():
                self._tell(self._titles.get(node, node), state)
        elif kind == "wizdroid.training":
            if data["event"]["kind"] == "phase":
                self._phase = data["event"]["name"]
            elif data["event"]["kind"] == "queued":
                self.queued_runs.add(data["run_id"])

    def _tell(self, title: str, state: dict[str, Any]) -> None:
        """Waiting nodes are told of from their start on; one that waits for a trainer goes on beside the others."""
        if state["state"] == "pending":
            return
        ended = state["state"] == "finished"
        if title == "Kohya Train" and self._phase and not ended:
            title = f"{title}: {self._phase}"
        self._shown.node(title, value=state["value"], total=state["max"], ended=ended)
