"""`python -m scripts.chaos`: hurt runs, folders, data sets, readers and disks on purpose, print the figures, and name how to see each failure again.

points    every durable operation of one attempt, once each: killed there, torn there, the disk full from there on
pairs     two accidents in a row, the second while the run recovers from the first; drawn by --seed
kills     SIGKILLs at random moments of trainers, keepers, both, and the shell that follows
folders   files of a finished run damaged one at a time, and every verb and the start of the desk tried on it
datasets  data sets with links, pipes, odd files and hostile journals in them, and everything tried that a person does
lists     every list in files with a spoilt element: routes and verbs tell all others, in strict JSON
parsers   every reader of what somebody else may have written, on generated headers, JSON, YAML, captions, logs, pictures
starts    the desk of a ComfyUI that starts on a workspace damaged outside of its runs, or held by another program
comfyui   the real ComfyUI, started on some forty damaged or hostile workspaces, each beside its usual time
disks     a disk that is full, read-only or broken, or a kill, at a durable operation of a verb
shell     every verb of the shell on a workspace in which everything that other people write tries to steer the terminal
all       folders, datasets, lists, parsers, starts, disks, shell and a few kills, with one seed
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.kohya_bench import DOUBLE

from .comfyui_starts import Hindered, comfyui_starts
from .crash_points import Trouble, pairs, walk
from .datasets import datasets
from .disks import disks
from .folders import folders
from .kills import kills
from .lists import lists
from .parsers import parsers
from .shell import shell
from .starts import starts
from .subjects import SUBJECTS
from .tried import Tried, tell

Campaign = Callable[..., Iterator[Tried]]
ODD: dict[str, tuple[Campaign, int, str]] = {
    "folders": (folders, 170, "files of a finished run, damaged"),
    "datasets": (datasets, 60, "hostile data sets"),
    "parsers": (parsers, 2500, "readers of foreign files"),
    "lists": (
        lists,
        120,
        "lists of runs, events, captions, cells and so on with a spoilt element, as panel and shell tell of them",
    ),
    "starts": (starts, 40, "workspaces that are damaged outside of their runs"),
    "disks": (disks, 64, "disks that fail"),
    "shell": (shell, 12, "every verb of the shell, where all texts try to steer the terminal"),
}
"""Each with the number of its inputs and what it is, in `--help`."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    os.environ.update(KOHYA_SD_SCRIPTS=str(DOUBLE), KOHYA_PYTHON=sys.executable)
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        os.environ["WIZDROID_KEY_DIR"] = str(Path(scratch) / "key")
        logging.disable(logging.CRITICAL)  # what is set aside is told by the thousand
        warnings.simplefilter("ignore")
        return int(options.run(options, Path(scratch)))


def _points(options: argparse.Namespace, scratch: Path) -> int:
    subject = SUBJECTS[options.subject](scratch)
    part, of = options.part
    points = walk(subject, hows=options.how.split(","), choose=lambda points: points[part - 1 :: of])
    return _tell(points, minutes=options.minutes)


def _pairs(options: argparse.Namespace, scratch: Path) -> int:
    hurt = pairs(SUBJECTS[options.subject](scratch), count=options.count, seed=options.seed)
    return _tell(hurt, minutes=options.minutes)


def _kills(options: argparse.Namespace, scratch: Path) -> int:
    return _tell(kills(scratch, count=options.count, seed=options.seed), minutes=options.minutes)


def _odd(options: argparse.Namespace, scratch: Path) -> int:
    campaign, usual, _ = ODD[options.campaign]
    tries = campaign(scratch, count=options.count or usual, seed=options.seed)
    return tell(tries, campaign=options.campaign, seed=options.seed, minutes=options.minutes)


def _all(options: argparse.Namespace, scratch: Path) -> int:
    worst = 0
    for name, (campaign, usual, _) in ODD.items():
        (scratch / name).mkdir()
        tries = campaign(scratch / name, count=usual, seed=options.seed)
        worst |= tell(tries, campaign=name, seed=options.seed, minutes=options.minutes)
    (scratch / "kills").mkdir()
    return worst | _tell(kills(scratch / "kills", count=9, seed=options.seed), minutes=options.minutes)


def _comfyui(options: argparse.Namespace, scratch: Path) -> int:
    starts = comfyui_starts(scratch, only=options.only, part=options.part)
    return _tell(starts, minutes=options.minutes)


def _tell(runs: Iterator[Trouble | Hindered | None], *, minutes: float) -> int:
    """Print each failure as it comes and the sum at the end; stop when the time is over. 1 when anything failed."""
    began, tried, failed = time.monotonic(), 0, 0
    for trouble in runs:
        tried += 1
        if trouble:
            failed += 1
            print(f"FAILED {trouble}", flush=True)
        if time.monotonic() - began > 60 * minutes:
            print(f"Stopped after {minutes:g} minutes.")
            break
    print(
        f"{tried} runs hurt, {failed} did not come to what an untouched run comes to; {time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    campaigns = parser.add_subparsers(required=True, metavar="campaign")
    points = campaigns.add_parser("points", help="every durable operation of one attempt, once each")
    points.add_argument("--how", default="kill,tear,full", help="what happens there (default: %(default)s)")
    points.add_argument("--part", default="1/1", type=_part, help="of the points, such as 2/3 (default: all)")
    points.set_defaults(run=_points)
    twice = campaigns.add_parser("pairs", help="two accidents in a row")
    twice.add_argument("--seed", type=int, default=1)
    twice.add_argument("--count", type=int, default=50)
    twice.set_defaults(run=_pairs)
    random_kills = campaigns.add_parser("kills", help="SIGKILLs at random moments")
    random_kills.add_argument("--seed", type=int, default=1)
    random_kills.add_argument("--count", type=int, default=100)
    random_kills.set_defaults(run=_kills)
    comfyui = campaigns.add_parser("comfyui", help="the real ComfyUI on damaged and hostile workspaces")
    comfyui.add_argument("--only", default="", help="workspaces whose name has this in it")
    comfyui.add_argument("--part", default="1/1", type=_part, help="of them, such as 2/3 (default: all)")
    comfyui.set_defaults(run=_comfyui)
    odd = []
    for name, (_, usual, what) in ODD.items():
        one = campaigns.add_parser(name, help=what)
        one.add_argument("--count", type=int, help=f"inputs (default: {usual})")
        one.set_defaults(run=_odd, campaign=name)
        odd.append(one)
    everything = campaigns.add_parser(
        "all", help="folders, datasets, lists, parsers, starts, disks, shell, and nine kills"
    )
    everything.set_defaults(run=_all)
    for each in (*odd, everything):
        drawn = random.randrange(10**8)
        each.add_argument("--seed", type=int, default=drawn, help="default: drawn, and told")
    for each in (points, twice, random_kills, comfyui, *odd, everything):
        each.add_argument(
            "--minutes", type=float, default=9.0, help="end after so long (default: %(default)s)"
        )
    for each in (points, twice):
        each.add_argument("--subject", choices=SUBJECTS, default="quick")
    return parser


def _part(text: str) -> tuple[int, int]:
    part, of = (int(each) for each in text.split("/"))
    return part, of


if __name__ == "__main__":
    sys.exit(main())
