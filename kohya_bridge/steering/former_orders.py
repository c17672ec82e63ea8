"""Orders of the versions before: `queued.json` in a run's folder, with a ready-made command in it.

In: a workspace in which such runs wait while the pack is updated. Out: orders of today in the same places of the line. Their
commands are never started: each is made again by its engine. It is done once for a workspace. A `queued.json` that comes into
it later came along with a folder, and is nobody's order.
"""

from __future__ import annotations

from typing import Any

from ..errors import BridgeError
from ..files import Tree
from ..run_folder import RunFolder
from .orders import FOLDER, Order, Orders

FILE = "queued.json"
MARK = f"{FOLDER}/.former-orders-taken-over"
MOST_BYTES = 1 << 20


def take_over(orders: Orders, *, folders: dict[str, Any]) -> None:
    """Put what waits by the old files into the line, to be made from these model `folders` (`Order.folders`).

    The caller holds the slot's lock. Raises StorageError.
    """
    tree = Tree(orders.workspace.runs_dir)
    if tree.is_file(MARK):
        return
    for run_dir in orders.workspace.run_dirs():
        run = RunFolder(run_dir)
        order = _order_of(run, folders)
        if order is not None:
            orders.put(order)
            Tree(run.dir).remove(FILE)
    tree.write(MARK, "")


def _order_of(run: RunFolder, folders: dict[str, Any]) -> Order | None:
    """The order that an old file stands for; None if there is none, or if it was written for another place than this."""
    try:
        told = Tree(run.dir).read_json(FILE, most=MOST_BYTES)
        place, words = told["place"], told["argv"]
        if not isinstance(place, (int, float)) or not isinstance(words, list) or str(run.dir) not in words:
            return None
        return Order(run, run.plan().engine, float(place), run.next_attempt(), folders)
    except (BridgeError, OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
