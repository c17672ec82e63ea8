"""Did the pictures change? Two folders of renders of the same reference workflow, compared file by file.

In: a folder from before a change (of nodes, versions, options) and one from after it. Out: a report, and a sheet that shows
what differs. Pixels are compared, not files: a PNG carries its prompt and a date. Renders with a LoRA and without it lie
beside each other as `<name>.png` and `<name>.lora.png`, so that a LoRA that stopped acting is noticed as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..datasets.pictures import opened
from ..errors import NotFound
from ..files import open_named
from .grid import compose_grid
from .likeness import difference, psnr_db

LORA_SUFFIX = ".lora.png"
DIFFERENCE_GAIN = 8
"""How much brighter differences are drawn than they are."""


@dataclass(frozen=True)
class Change:
    """What became of one picture: same, changed, resized, missing, new, or unreadable."""

    name: str
    state: str
    difference: float | None = None
    """Mean absolute difference, 0 to 1."""
    psnr_db: float | None = None

    @property
    def text(self) -> str:
        numbers = (
            ""
            if self.difference is None
            else f", difference {self.difference:.5f}, PSNR {self.psnr_db:.1f} dB"
        )
        return f"{self.name}: {self.state}{numbers}"


@dataclass(frozen=True)
class Regression:
    """All pictures of both folders, and LoRAs that no longer act."""

    changes: tuple[Change, ...]
    idle_loras: tuple[str, ...]
    """Renders whose picture with the LoRA equals the one without it, in the new folder."""

    @property
    def same(self) -> bool:
        return not self.idle_loras and all(each.state == "same" for each in self.changes)

    @property
    def text(self) -> str:
        counted = {state: sum(each.state == state for each in self.changes) for state in ("same", "changed")}
        other = len(self.changes) - sum(counted.values())
        lines = [f"{counted['same']} same, {counted['changed']} changed, {other} missing, new or damaged."]
        lines += [each.text for each in self.changes if each.state != "same"]
        lines += [f"{name}: the LoRA changes nothing." for name in self.idle_loras]
        return "\n".join(lines)


def compare_renders(before_dir: Path, after_dir: Path, *, tolerance: float = 0.0) -> Regression:
    """Compare all PNGs by name. `tolerance` is the mean absolute difference (0 to 1) that still counts as the same.

    Raises:
        NotFound: a folder is missing or holds no picture.
    """
    before, after = _pictures(before_dir), _pictures(after_dir)
    names = sorted({*before, *after})
    changes = tuple(_compare(name, before.get(name), after.get(name), tolerance) for name in names)
    idle = tuple(
        name.removesuffix(LORA_SUFFIX)
        for name, file in after.items()
        if name.endswith(LORA_SUFFIX)
        and _same_pixels(file, after.get(name.removesuffix(LORA_SUFFIX) + ".png"))
    )
    return Regression(changes, idle)


def difference_sheet(before_dir: Path, after_dir: Path, regression: Regression) -> Image.Image | None:
    """Before, after and the difference (8 times brighter) of every changed picture; None when nothing changed."""
    changed = [each for each in regression.changes if each.state == "changed"]
    rows = []
    for each in changed:
        old, new = _open(before_dir / each.name), _open(after_dir / each.name)
        if old is not None and new is not None:
            apart = (
                np.abs(np.asarray(old, dtype=np.int16) - np.asarray(new, dtype=np.int16)) * DIFFERENCE_GAIN
            )
            rows.append([old, new, Image.fromarray(apart.clip(0, 255).astype(np.uint8))])
    if not rows:
        return None
    return compose_grid(
        rows,
        rows=[each.text for each in changed],
        columns=["before", "after", f"difference x {DIFFERENCE_GAIN}"],
        title="What changed",
    )


def _pictures(folder: Path) -> dict[str, Path]:
    found = {file.name: file for file in sorted(folder.glob("*.png"))} if folder.is_dir() else {}
    if not found:
        raise NotFound(
            f"There is no picture in {folder.name}/.", "Render the reference workflow into it first."
        )
    return found


def _compare(name: str, before: Path | None, after: Path | None, tolerance: float) -> Change:
    if before is None or after is None:
        return Change(name, "new" if before is None else "missing")
    old, new = _open(before), _open(after)
    if old is None or new is None:
        return Change(name, "unreadable")
    if old.size != new.size:
        return Change(name, f"resized from {old.width} x {old.height} to {new.width} x {new.height}")
    apart = difference(old, new)
    return Change(name, "same") if apart <= tolerance else Change(name, "changed", apart, psnr_db(old, new))


def _same_pixels(one: Path, other: Path | None) -> bool:
    if other is None:
        return False
    first, second = _open(one), _open(other)
    return first is not None and second is not None and first.tobytes() == second.tobytes()


def _open(file: Path) -> Image.Image | None:
    try:
        with open_named(file) as stream, opened(stream) as picture:
            return picture.convert("RGB")
    except OSError:
        return None
