"""The line of runs that wait for the GPU: one small signed file each in `runs/.queue/`.

In: runs that a desk of this machine put in line. Out: `Order`s, next one first. An order names a run, its engine and the model
folders of whoever gave it; what is started is made from that again when its turn comes. No folder of a run or a dataset can
bring one along: orders lie outside of them, and carry a signature of this machine for this workspace. One without it waits for
a person. The caller holds the slot's lock wherever something is written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import json_text
from ..errors import StorageError
from ..files import Tree
from ..machine_key import is_ours, sign
from ..run_folder import RunFolder
from ..workspace import RUN_ID, SLUG, Workspace

PURPOSE = "order"
FOLDER = ".queue"
VERSION = 1
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Order:
    """A waiting run: its engine by name, its place in line (ascending), and the attempt's number."""

    run: RunFolder
    engine: str
    place: float
    attempt: int
    folders: dict[str, Any] = field(default_factory=dict)
    """Model folders of whoever gave the order, as `Places.folders`; empty where they are not known."""
    time: float = field(default_factory=time.time)
    """When it was given, in seconds since the epoch."""


class Orders:
    """The waiting runs of one workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._tree = Tree(workspace.runs_dir)

    def line(self) -> list[Order]:
        """Orders of this machine, next one first."""
        ours = [order for order, signed in self._read() if signed]
        return sorted(ours, key=lambda order: (order.place, order.run.run_id))

    def foreign(self) -> list[Order]:
        """Orders that this machine did not give for this workspace: nothing happens to them until a person says so."""
        return [order for order, signed in self._read() if not signed]

    def of(self, run: RunFolder) -> Order | None:
        """The order of this machine for `run`, if it waits."""
        read = self._order_in(self._file(run))
        return read[0] if read and read[1] and read[0].run == run else None

    def has(self, run: RunFolder) -> bool:
        """Whether there is any order for `run`, ours or another's."""
        return self._order_in(self._file(run)) is not None

    def put(self, order: Order) -> None:
        """Write or replace the order of a run. Raises StorageError."""
        text = self._text(order)
        told = {**json.loads(text), "signature": sign(PURPOSE, text)}
        self._tree.write(self._file(order.run), json_text.write(told, indent=1))

    def drop(self, run: RunFolder) -> bool:
        """Take a run out of the line. False if it has no order there."""
        return not self.problem and self._tree.remove(self._file(run))

    def move(self, run: RunFolder, position: int) -> bool:
        """Put a waiting run at `position` (1 is next). False if it does not wait."""
        waiting = self.line()
        mine = next((each for each in waiting if each.run == run), None)
        if mine is None:
            return False
        others = [each for each in waiting if each is not mine]
        others.insert(max(0, min(position - 1, len(others))), mine)
        for place, order in enumerate(others):
            self.put(Order(order.run, order.engine, float(place), order.attempt, order.folders, order.time))
        return True

    @property
    def problem(self) -> str:
        """Why no run can wait in this workspace; empty where they can."""
        folder = self.workspace.runs_dir / FOLDER
        if not os.path.lexists(folder) or self._tree.is_folder(folder):
            return ""
        return f"No run of this workspace can wait for the GPU: {folder.parent.name}/{FOLDER} is not a folder. Move it away."

    # --- inside ------------------------------------------------------------------------------------------------------

    def _file(self, run: RunFolder) -> str:
        return f"{FOLDER}/{run.run_id}.json"

    def _text(self, order: Order) -> str:
        """What is signed. It names the workspace: an order that is copied into another one is none there."""
        told = {
            "version": VERSION,
            "workspace": str(self.workspace.root),
            "slug": order.run.slug,
            "run_id": order.run.run_id,
            "engine": order.engine,
            "place": order.place,
            "attempt": order.attempt,
            "folders": order.folders,
            "time": order.time,
        }
        return json_text.write(told, sort_keys=True)

    def _read(self) -> Iterator[tuple[Order, bool]]:
        for file in self._tree.entries(FOLDER):
            if file.suffix == ".json" and RUN_ID.fullmatch(file.stem):
                found = self._order_in(file)
                if found is not None:
                    yield found

    def _order_in(self, file: Path | str) -> tuple[Order, bool] | None:
        """The order in a file, and whether it is ours; None for what is none."""
        try:
            told = self._tree.read_json(file, most=MOST_BYTES)
        except OSError:
            return None
        order = self._parsed(told)
        if order is None or order.run.run_id != Path(file).stem:
            return None
        return order, _is_signed(self._text(order), told.get("signature"))

    def _parsed(self, told: Any) -> Order | None:
        try:
            slug, run_id, engine, folders = (told[name] for name in ("slug", "run_id", "engine", "folders"))
            place, attempt, time = (told[name] for name in ("place", "attempt", "time"))
            is_named = bool(SLUG.fullmatch(slug) and RUN_ID.fullmatch(run_id)) and isinstance(engine, str)
            if told["version"] != VERSION or not is_named or not isinstance(folders, dict):
                return None
        except (KeyError, TypeError):
            return None
        if not all(map(_is_number, (place, attempt, time))) or not isinstance(attempt, int):
            return None
        return Order(
            RunFolder(self.workspace.runs_dir / slug / run_id), engine, place, attempt, folders, time
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15


def _is_signed(text: str, signature: Any) -> bool:
    try:
        return is_ours(PURPOSE, text, signature)
    except StorageError:  # without a key nothing is known as ours
        return False
