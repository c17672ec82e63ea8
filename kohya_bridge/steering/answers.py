"""What waits for a person's word, and what comes of the word: prompts and orders that came along with a folder, damaged runs.

In: the slot of a workspace. Out: `Ask`s, and after an answer the record that acts as if it had been made here, or is put aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..errors import NotFound
from ..run_folder import RunFolder
from ..runs import asks, damage
from ..runs.asks import Ask
from .slot import Slot

ORDER = "order"


class Answers:
    """The asks of one workspace, and their answers."""

    def __init__(self, slot: Slot, *, queue: Callable[[str], object]):
        """`queue` puts a run in line by its id, with every check."""
        self.slot, self._queue = slot, queue

    def asks(self, names: Iterable[tuple[str, str]] | None = None) -> list[Ask]:
        """Everything that waits for a person, oldest first. `names` are the workspace's runs, if they are at hand."""
        found, aside = list(self._orders()), self.slot.aside
        asking = list(asks.runs_with_records(names or self.slot.workspace.run_names()))
        for run in asking:
            with aside.sparing(run, "ask"):
                found += asks.asks_of(run)
        for run in set(aside.runs()).difference(asking):
            aside.forget(run, "ask")
        return sorted(found, key=lambda each: each.since)

    def ask(self, run: RunFolder, what: str) -> Ask:
        """One of them. Raises NotFound."""
        mine = [*asks.asks_of(run), *(each for each in self._orders() if each.run_id == run.run_id)]
        for each in mine:
            if each.what == what:
                return each
        raise NotFound(
            f"Nothing called {what[:40]!r} of run {run.run_id} waits for an answer.",
            "It was answered already; look again.",
        )

    def agree(self, run: RunFolder, what: str) -> None:
        """Let it act. Raises NotFound, and whatever stands in the way of queueing a run."""
        self.ask(run, what)
        if what == ORDER:
            self._queue(run.run_id)  # the order becomes one of ours, in a place behind the others
            return
        with self.slot.locked():
            asks.agree(run, what)
        self.slot.touch()

    def decline(self, run: RunFolder, what: str) -> None:
        """Put it aside. Raises NotFound, StorageError."""
        self.ask(run, what)
        with self.slot.locked():
            if what == ORDER:
                self.slot.orders.drop(run)
            else:
                asks.decline(run, what)
        self.slot.touch()
        if what == ORDER:
            self.slot.close_orphans()

    def mend(self, run: RunFolder) -> list[str]:
        """Put what is damaged in a run's folder out of the way, look at it anew, and return the names of what was moved."""
        with self.slot.locked():
            moved = damage.mend(run)
            self.slot.aside.forget(run)
            self.slot.close_orphans()
            self.slot.touch()
        return moved

    def _orders(self) -> Iterator[Ask]:
        for order in self.slot.orders.foreign():
            if order.run.exists:
                yield Ask(order.run.run_id, order.run.slug, ORDER, ORDER, order.time, {}, "")
