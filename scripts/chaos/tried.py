"""One try of a campaign, and how tries are told: a row of figures, and for each failure how to see it again.

In: an act, and how long it may take. Out: `Tried`, with what went wrong sorted into four columns. A `BridgeError` with words is an
answer, whatever it says; anything else that is raised is a crash.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kohya_bridge.errors import BridgeError

GOT_IN, CRASHED, HUNG, LOST = "got in", "crashed", "hung", "lost data"
COLUMNS = (GOT_IN, CRASHED, HUNG, LOST)
PATIENCE_S = 5.0


@dataclass
class Tried:
    """`what` names the input so that it can be made again; `wrong` holds a column and a sentence for each failure."""

    what: str
    wrong: list[tuple[str, str]] = field(default_factory=list)
    acts: int = 1

    def note(self, column: str, sentence: str) -> None:
        self.wrong.append((column, sentence))


def answer(act: Callable[[], Any], *, also: tuple[type[BaseException], ...] = ()) -> str:
    """What went wrong when `act` ran here, empty when nothing did. `also`: errors that its docstring names."""
    try:
        act()
    except BridgeError as error:
        return "" if error.problem else "an error without words"
    except also:
        return ""
    except BaseException as error:  # whatever it is, it is what a campaign looks for
        return f"{type(error).__name__}: {str(error)[:300]}"
    return ""


def crowding() -> float:
    """How many times longer than alone work may take now, by the machine's load."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1.0, 1.5 * load / (os.cpu_count() or 1))


def attempt(
    tried: Tried,
    name: str,
    act: Callable[[], Any],
    *,
    also: tuple[type[BaseException], ...] = (),
    patience_s: float = PATIENCE_S,
) -> None:
    """Run `act` in a thread of its own and note in `tried` that it crashed, or took longer than it may beside what else works here."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(answer(act, also=also)), daemon=True)
    patience_s, began = patience_s * crowding(), time.monotonic()
    thread.start()
    thread.join(patience_s)
    took_s = time.monotonic() - began
    # It may be over by now and have taken long: a regular expression holds the interpreter, and nobody could look in between.
    if not said or took_s > patience_s + 1.0:
        tried.note(HUNG, f"{name}: {took_s:.0f} s")
    if said and said[0]:
        tried.note(CRASHED, f"{name}: {said[0]}")


def tell(tries: Iterable[Tried], *, campaign: str, seed: int, minutes: float) -> int:
    """Print each failure as it comes, and the row of figures at the end; stop when the time is over. 1 when anything failed."""
    began, count, acts, failures = time.monotonic(), 0, 0, Counter[str]()
    for tried in tries:
        count += 1
        acts += tried.acts
        for column, sentence in tried.wrong:
            failures[column] += 1
            print(f"{column.upper()} --seed {seed}, {tried.what}: {sentence}", flush=True)
        if time.monotonic() - began > 60 * minutes:
            print(f"Stopped after {minutes:g} minutes.")
            break
    figures = ", ".join(f"{failures[each]} {each}" for each in COLUMNS)
    print(
        f"{campaign}, seed {seed}: {count} inputs, {acts} tried, {figures}; {time.monotonic() - began:.0f} s"
    )
    return 1 if failures else 0


def failures(tries: Iterable[Tried]) -> Iterator[str]:
    """Every failure as a line, for tests."""
    for tried in tries:
        for column, sentence in tried.wrong:
            yield f"{column}: {tried.what}: {sentence}"
