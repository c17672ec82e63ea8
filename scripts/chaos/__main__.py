"""`python -m scripts.chaos`: hurt runs on purpose, print the figures, and name how to see each failure again.

points   every durable operation of one attempt, once each: killed there, torn there, the disk full from there on
pairs    two accidents in a row, the second while the run recovers from the first; drawn by --seed
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.kohya_bench import DOUBLE

from .crash_points import Trouble, pairs, walk
from .kills import kills
from .subjects import SUBJECTS


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    os.environ.update(KOHYA_SD_SCRIPTS=str(DOUBLE), KOHYA_PYTHON=sys.executable)
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        os.environ["WIZDROID_KEY_DIR"] = str(Path(scratch) / "key")
        return _tell(options.run(options, Path(scratch)), minutes=options.minutes)


def _points(options: argparse.Namespace, scratch: Path) -> Iterator[Trouble | None]:
    subject = SUBJECTS[options.subject](scratch)
    part, of = options.part
    return walk(subject, hows=options.how.split(","), choose=lambda points: points[part - 1 :: of])


def _pairs(options: argparse.Namespace, scratch: Path) -> Iterator[Trouble | None]:
    return pairs(SUBJECTS[options.subject](scratch), count=options.count, seed=options.seed)


def _kills(options: argparse.Namespace, scratch: Path) -> Iterator[Trouble | None]:
    return kills(scratch, count=options.count, seed=options.seed)


def _tell(runs: Iterator[Trouble | None], *, minutes: float) -> int:
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
    for each in (points, twice, random_kills):
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
