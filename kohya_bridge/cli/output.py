"""What a verb says: plain lines, coloured where a person looks on, or JSON for a program.

In: sentences, rows and results. Out: text on stdout, errors on stderr. With `--json`, stdout carries JSON lines only. All of it goes
through here, where characters that steer a terminal are written out: captions, logs and run folders are other people's text.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .. import json_text
from ..console import shown, shown_as_json, shown_in_one_line, shows_every_letter
from ..errors import BridgeError
from ..redaction import without_secrets


class Output:
    """Where a verb writes. `person` is True when somebody looks at a terminal."""

    def __init__(self, *, as_json: bool):
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=True)
        self.person = self.console.is_terminal and not as_json

    def say(self, sentence: str = "") -> None:
        """A line for a person; nothing with `--json`."""
        if not self.as_json:
            print(shown(sentence), flush=True)

    def emit(self, value: Any) -> None:
        """A line of JSON; nothing without `--json`."""
        if self.as_json:
            ascii_only = not shows_every_letter(sys.stdout)
            print(shown_as_json(json_text.write(value, ensure_ascii=ascii_only, default=str)), flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows under their headings: a drawn table on a terminal, tab-separated lines in a pipe."""
        cells = [["" if each is None else shown_in_one_line(str(each)) for each in row] for row in rows]
        if self.as_json:
            return
        if not self.person:
            for row in [list(columns), *cells]:
                self.say("\t".join(row))
            return
        drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in cells:
            drawn.add_row(*row)
        self.console.print(drawn, markup=False)

    def error(self, error: BridgeError) -> None:
        """A problem with its fix, without secrets that it quotes: on stderr, or as JSON on stdout."""
        problem, fix = without_secrets(error.problem), without_secrets(error.fix)
        if self.as_json:
            self.emit({"error": {"kind": type(error).__name__, "problem": problem, "fix": fix}})
        else:
            print(shown(problem), file=sys.stderr)
            if fix:
                print(shown(f"Fix: {fix}"), file=sys.stderr)
