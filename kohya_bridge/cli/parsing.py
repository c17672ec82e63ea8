"""The command line as argparse sees it: one parser a verb, common options on each.

In: modules that add their verbs. Out: a parser whose result names the function to call.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from .context import add_common_options

if TYPE_CHECKING:
    from .context import Context

Action = Callable[["Context", argparse.Namespace], int]


class Verbs:
    """Collects the verbs of the command line."""

    def __init__(self, parser: argparse.ArgumentParser):
        self._parsers = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)

    def add(self, name: str, action: Action, summary: str) -> argparse.ArgumentParser:
        """A parser for the verb `name`, which calls `action`."""
        parser = self._parsers.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        add_common_options(parser)
        parser.set_defaults(action=action)
        return parser

    @property
    def parsers(self) -> dict[str, argparse.ArgumentParser]:
        return dict(self._parsers.choices)
