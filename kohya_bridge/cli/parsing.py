"""The command line as argparse sees it: one parser a verb, common options on each.

In: modules that add their verbs. Out: a parser whose result names the function to call.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from .context import add_common_options

if TYPE_CHECKING:
    from .context import Context

Action = Callable[["Context", argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a word of the command line as the rest of the program does: the thing, the reason, the way out."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{_in_words(message)} `{self.prog} --help` shows how it is used.\n")


def _in_words(message: str) -> str:
    """argparse's own sentence in plain words; one that is not known here stays."""
    if found := re.fullmatch(
        r"argument (\S+?)(?:/\S+)?: invalid (int|float) value: (.*)", message, re.DOTALL
    ):
        return f"{found[1]} {found[3]} is not a {'whole number' if found[2] == 'int' else 'number'}."
    if found := re.fullmatch(
        r"argument (\S+?)(?:/\S+)?: invalid choice: '?(.*?)'? \(choose from (.*)\)", message, re.DOTALL
    ):
        names = [each.strip("' ") for each in found[3].split(",")]
        near = difflib.get_close_matches(found[2], names, n=1)
        way_out = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names)}."
        what = "There is no verb" if found[1] == "VERB" else f"{found[1]} does not know"
        return f"{what} {found[2]!r}. {way_out}"
    if found := re.fullmatch(r"unrecognized arguments: (.*)", message, re.DOTALL):
        return f"`{found[1]}` is not understood here."
    if found := re.fullmatch(r"the following arguments are required: (.*)", message, re.DOTALL):
        return f"Something is missing: {found[1]}."
    if found := re.fullmatch(r"argument (\S+?)(?:/\S+)?: expected (?:one|at least one) argument", message):
        return f"{found[1]} needs a value behind it."
    return f"{message[:1].upper()}{message[1:].rstrip('.')}."


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
