"""Every option that a training script takes, from its own parser: `python -m kohya_bridge.engines.kohya.options [SCRIPT | --record]`.

In: a checkout, its interpreter, a script. Out: name, type, choices and default of each option. The parser is asked once for
each commit (it costs the imports of sd-scripts, 4 seconds); the answer is kept as JSON in the workspace's cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ... import json_text
from ...architectures import ARCHITECTURES
from ...errors import Unavailable
from ...files import Tree, write_atomically
from ...reasons import reason_of
from ...workspace import Workspace
from ..contract import python_module_command
from .checkout import SETUP_COMMAND, Checkout, find_checkout, find_interpreter

RECORD = Path(__file__).parent / "importing" / "sd_scripts_options.json"
EVERY_SCRIPT = "every script"
DESCRIBE = "kohya_bridge.engines.kohya.describe_parser"
TIMEOUT_S = 300


@dataclass(frozen=True)
class Option:
    """One option of a parser. `type` is flag, int, float, number, str or path; `many` takes a list."""

    name: str
    type: str
    many: bool
    choices: tuple[Any, ...] | None
    default: Any
    help: str


ParserOptions = dict[str, Option]


def parser_options(checkout: Checkout, interpreter: Path, script: str, *, cache_dir: Path) -> ParserOptions:
    """The options of `script` at this commit.

    Raises:
        Unavailable: the script can't be imported; the problem ends with Python's own last line.
    """
    cache, kept = Tree(cache_dir), f"kohya/options/{checkout.commit}-{script}.json"
    if not cache.is_file(kept):
        options = _ask(checkout, interpreter, script)
        cache.write(kept, json_text.write([asdict(each) for each in options], indent=1, ensure_ascii=False))
    return {row["name"]: _option(row) for row in cache.read_json(kept)}


def _ask(checkout: Checkout, interpreter: Path, script: str) -> list[Option]:
    command = python_module_command(DESCRIBE, str(checkout.dir), script, interpreter=str(interpreter))
    try:
        answer = subprocess.run(
            command.argv,
            cwd=command.cwd,
            env={**os.environ, **command.environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(
            f"The kohya trainer's interpreter does not answer: {reason_of(error)}.", f"Run `{SETUP_COMMAND}`."
        ) from error
    last = [line for line in answer.stdout.splitlines() if line.startswith("[{")]
    if answer.returncode or not last:
        why = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(
            f"sd-scripts' {script}.py can't be loaded by its interpreter: {why}",
            f"Run `{SETUP_COMMAND}`; `python -m kohya_bridge doctor` says what is missing.",
        )
    return [_option(row) for row in json.loads(last[-1])]


def _option(row: dict[str, Any]) -> Option:
    return Option(**{**row, "choices": None if row["choices"] is None else tuple(row["choices"])})


def record(file: Path = RECORD) -> dict[str, Any]:
    """Write name and default of every option of every family's script into `file`, for when no checkout is at hand."""
    checkout, interpreter, cache_dir = find_checkout(), find_interpreter(), Workspace.default().cache_dir
    scripts = dict.fromkeys(
        each.kohya.script.removesuffix(".py") for each in ARCHITECTURES.values() if each.kohya
    )
    known = {
        script: {
            each.name: each.default
            for each in parser_options(checkout, interpreter, script, cache_dir=cache_dir).values()
        }
        for script in scripts
    }
    first, *others = ["train_network", *(script for script in known if script != "train_network")]
    recorded: dict[str, Any] = {"commit": checkout.commit[:8], EVERY_SCRIPT: known[first]}
    for script in sorted(others):
        recorded[script] = {name: value for name, value in known[script].items() if name not in known[first]}
    write_atomically(file, json_text.write(recorded, indent=1) + "\n")
    return recorded


def main(script: str = "train_network") -> int:
    """List the options of a script with type, default and upstream's own words; `--record` keeps those of every script."""
    if script == "--record":
        print(f"Recorded {record()['commit']} in {RECORD.name}.")
        return 0
    cache_dir = Workspace.default().cache_dir
    for each in parser_options(find_checkout(), find_interpreter(), script, cache_dir=cache_dir).values():
        choices = f" {list(each.choices)}" if each.choices else ""
        print(
            f"{each.name} ({each.type}{', several' if each.many else ''}, default {each.default}){choices}: {each.help}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
