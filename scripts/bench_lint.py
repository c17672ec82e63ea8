"""How fast lint is on a large set: `python scripts/bench_lint.py [--pictures 1000] [--side 1024]`.

In: nothing; it draws noisy pictures, half PNG and half JPEG, in a temporary folder. Out: seconds for decoding alone with all cores,
for a first lint, and for a second one that the cache serves; and the share of the first that is decoding.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kohya_bridge.dataset import read_dataset
from kohya_bridge.lint import lint_dataset


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--side", type=int, default=1024)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder, "set"), Path(folder, "cache")
        draw(root, arguments.pictures, arguments.side)
        dataset = read_dataset(root)
        files = [item.file for item in dataset.items]
        decode(files)  # so that every measure finds the files in the page cache
        wall, cpu = timed(lambda: decode(files))
        first_wall, first_cpu = timed(lambda: lint_dataset(dataset, cache_dir=cache))
        again, _ = timed(lambda: lint_dataset(read_dataset(root), cache_dir=cache))
        size = sum(file.stat().st_size for file in files) / 1e6
    print(f"{len(files)} pictures of {arguments.side} px, {size:.0f} MB, {os.cpu_count()} cores")
    print(f"decoding alone   {wall:7.2f} s   {cpu:7.2f} s of processor")
    print(
        f"first lint       {first_wall:7.2f} s   {first_cpu:7.2f} s of processor, {cpu / first_cpu:.0%} of it decoding"
    )
    print(f"second lint      {again:7.2f} s")


def draw(root: Path, count: int, side: int) -> None:
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).resize((side, side))
        noise = rng.integers(-10, 11, (side, side, 1), np.int16)
        picture = Image.fromarray((np.asarray(coarse, np.int16) + noise).clip(0, 255).astype(np.uint8))
        name = f"{number:04d}.{'jpg' if number % 2 else 'png'}"
        picture.save(root / "images" / name, **({"quality": 93} if number % 2 else {"compress_level": 3}))
        rows.append(
            {
                "file_name": name,
                "prompt": f"char_x, pose {number % 50}, place {number % 37}, light {number % 13}",
            }
        )
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def decode(files: list[Path]) -> None:
    def load(file: Path) -> None:
        with Image.open(file) as picture:
            picture.load()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(load, files))


def timed(work) -> tuple[float, float]:
    """Seconds by the clock and of processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
