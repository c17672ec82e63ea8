"""Coverage-guided tries of one reader: `python -m scripts.chaos.guided "run.json" [--seconds 60]`. Needs `pip install atheris`.

In: the name of a reader of `parsers.py`; its sound and damaged inputs are what atheris starts from. Out: nothing, or a traceback, with
the input that provoked it in the folder that is named. An error with words is an answer; anything else ends it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["kohya_bridge"]):
    from .parsers import READERS
from .tried import answer

SEEDS = 40
MOST_BYTES = 6_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=sorted(READERS))
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    reader, root = READERS[options.reader], Path(tempfile.mkdtemp(prefix="guided-"))
    corpus, place = root / "corpus", root / "place"
    corpus.mkdir()
    for number in range(SEEDS):
        dice = random.Random(number)
        sound = reader.sound(dice)
        (corpus / str(number)).write_bytes(reader.damage(dice, sound) if number % 2 else sound)

    def one(data: bytes) -> Any:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        wrong = answer(lambda: reader.read(data, place), also=reader.also)
        if wrong:
            raise AssertionError(f"{options.reader}: {wrong}")

    limits = [
        f"-max_total_time={options.seconds}",
        f"-max_len={MOST_BYTES}",
        "-timeout=20",
        "-rss_limit_mb=0",
    ]
    atheris.Setup(
        [sys.argv[0], str(corpus), f"-artifact_prefix={root}/", *limits, "-print_final_stats=1"], one
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
