"""How fast lint is on a large set: `python -m scripts.bench_lint [--pictures 1000] [--side 1024]`.

In: nothing; it draws noisy pictures, half PNG and half JPEG, in a temporary folder. Out: how much of a first lint is decoding by the
library, whether all cores are used, and what a second lint costs that the cache serves. Decoding alone is measured before and after
the lint, so that other programs on the machine slow down both alike. Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kohya_bridge.dataset import read_dataset
from kohya_bridge.lint import lint_dataset

LEAST_DECODING, LONGEST_AGAIN_S = 0.8, 2.0


@dataclass
class Spent:
    """Seconds by the clock and of processor, summed up."""

    wall: float = 0.0
    cpu: float = 0.0

    def on(self, work: Callable[[], object]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    @property
    def cores(self) -> float:
        """How many cores worked on average."""
        return self.cpu / self.wall


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--side", type=int, default=1024)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder, "set"), Path(folder, "cache")
        draw(root, arguments.pictures, arguments.side)
        files = [item.file for item in read_dataset(root).items]
        decoding, linting, again = Spent(), Spent(), Spent()
        decoding.on(lambda: decode(files))
        linting.on(lambda: lint_dataset(read_dataset(root), cache_dir=cache))
        decoding.on(lambda: decode(files))
        again.on(lambda: lint_dataset(read_dataset(root), cache_dir=cache))
        size = sum(file.stat().st_size for file in (root / "images").iterdir()) / 1e6
    share = decoding.cpu / 2 / linting.cpu
    print(f"{arguments.pictures} pictures of {arguments.side} px, {size:.0f} MB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"decoding alone  {decoding.wall / 2:7.2f} s  {decoding.cpu / 2:7.2f} s of processor, {decoding.cores:.2f} cores busy")  # fmt: skip
    print(f"first lint      {linting.wall:7.2f} s  {linting.cpu:7.2f} s of processor, {linting.cores:.2f} cores busy; {share:.0%} of it is decoding")  # fmt: skip
    print(f"second lint     {again.wall:7.2f} s  {again.cpu:7.2f} s of processor")
    missed = share < LEAST_DECODING or again.wall > LONGEST_AGAIN_S
    print(f"Goals: at least {LEAST_DECODING:.0%} decoding, a second lint under {LONGEST_AGAIN_S:.0f} s: {'MISSED' if missed else 'kept'}.")  # fmt: skip
    return int(missed)


def draw(root: Path, count: int, side: int) -> None:
    """Pictures with as much detail as renders have: smooth shapes with noise over them."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).resize((side, side))
        noise = rng.integers(-10, 11, (side, side, 1), np.int16)
        picture = Image.fromarray((np.asarray(coarse, np.int16) + noise).clip(0, 255).astype(np.uint8))
        name = f"{number:04d}.{'jpg' if number % 2 else 'png'}"
        picture.save(root / "images" / name, **({"quality": 93} if number % 2 else {"compress_level": 3}))
        prompt = f"char_x, pose {number % 50}, place {number % 37}, light {number % 13}"
        rows.append({"file_name": name, "prompt": prompt})
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def decode(files: list[Path]) -> None:
    """What cannot be saved: every picture unpacked by Pillow, on all cores."""

    def load(file: Path) -> None:
        with Image.open(file) as picture:
            picture.load()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(load, files))


if __name__ == "__main__":
    sys.exit(main())
