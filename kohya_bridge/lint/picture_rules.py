"""Rules about single pictures (20x to 22x). One function each; `catalogue.py` lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

from ..datasets.pictures import PictureFacts
from ..settings import TrainingSettings
from .finding import Examined, Hit

_REASONS = {
    "empty": "The file is empty (0 bytes).",
    "huge": "The file is larger than 512 MiB and was not opened.",
    "bomb": "The picture would unpack to more than 100 million pixels and was not opened.",
    "truncated": "The file is cut off: part of the picture is missing.",
    "unreadable": "The file can't be decoded as a picture.",
}
_TURNS = {2: "mirrored", 3: "turned by 180 degrees", 4: "mirrored upside down", 5: "turned and mirrored",
          6: "turned by 90 degrees", 7: "turned and mirrored", 8: "turned by 270 degrees"}  # fmt: skip


def unreadable(seen: Examined) -> Iterator[Hit]:
    """A file that does not decode to its last pixel."""
    for item in seen.items:
        facts = seen.facts[item.name]
        if not facts.readable:
            yield Hit(item.name, _REASONS[facts.reason])


def too_small(seen: Examined) -> Iterator[Hit]:
    """Fewer pixels than are trained, where that is known."""
    for item, facts in seen.readable():
        if seen.training_known and is_too_small(facts, seen.training):
            yield Hit(item.name, f"It is {facts.width} x {facts.height} px, less than is trained ({_trained(seen.training)}).")  # fmt: skip


def is_too_small(facts: PictureFacts, training: TrainingSettings) -> bool:
    """Whether the trainer would have to enlarge a picture by its area, or find no bucket where it may not enlarge."""
    if training.enable_bucket and training.bucket_no_upscale:
        return min(facts.width, facts.height) < _least_side(training)
    return facts.width * facts.height < training.resolution**2


def _least_side(training: TrainingSettings) -> int:
    return min(training.min_bucket_reso, training.resolution)


def _trained(training: TrainingSettings) -> str:
    if training.enable_bucket and training.bucket_no_upscale:
        return f"at least {_least_side(training)} px on the shortest side"
    return f"as many pixels as {training.resolution} x {training.resolution}"


def smaller_than_advised(seen: Examined) -> Iterator[Hit]:
    """A shortest side below what is advised for pictures that may be trained larger one day."""
    for item, facts in seen.readable():
        too = seen.training_known and is_too_small(facts, seen.training)
        if not too and min(facts.width, facts.height) < seen.settings.min_side:
            yield Hit(item.name, f"It is {facts.width} x {facts.height} px; {seen.settings.min_side} px on the shortest side are advised.")  # fmt: skip


def odd_aspect(seen: Examined) -> Iterator[Hit]:
    """A very long or very wide picture."""
    for item, facts in seen.readable():
        aspect = max(facts.width, facts.height) / min(facts.width, facts.height)
        if aspect > seen.settings.max_aspect:
            yield Hit(item.name, f"It is {facts.width} x {facts.height} px, {aspect:.1f} to 1; a bucket crops away its ends.")  # fmt: skip


def turned_by_exif(seen: Examined) -> Iterator[Hit]:
    """A picture that only looks upright because a viewer turns it."""
    for item, facts in seen.readable():
        if facts.orientation != 1:
            yield Hit(item.name, f"Its EXIF tag says that it is {_TURNS[facts.orientation]}.")


def transparent(seen: Examined) -> Iterator[Hit]:
    """Transparent parts."""
    yield from _each(seen, lambda facts: facts.transparent, lambda facts: "It has transparent parts.")


def unusual_mode(seen: Examined) -> Iterator[Hit]:
    """CMYK, 16 bits or floating point."""
    plain = {"RGB", "RGBA", "L", "LA", "P", "PA", "1", "RGBX"}
    yield from _each(
        seen,
        lambda facts: facts.mode not in plain,
        lambda facts: f"Its pixels are stored as {facts.mode}, not as 8-bit RGB.",
    )


def colour_profile(seen: Examined) -> Iterator[Hit]:
    """Colours that mean something else than sRGB."""
    yield from _each(seen, lambda facts: bool(facts.profile), lambda facts: f"Its colour profile is {facts.profile[:60]!r}, not sRGB.")  # fmt: skip


def animated(seen: Examined) -> Iterator[Hit]:
    """More than one frame."""
    yield from _each(
        seen, lambda facts: facts.animated, lambda facts: "It is animated; only its first frame is trained."
    )


def grey_among_colour(seen: Examined) -> Iterator[Hit]:
    """A grey picture in a coloured set."""
    grey = [item.name for item, facts in seen.readable() if facts.look.colour < 1.0]
    if 0 < len(grey) < sum(1 for _ in seen.readable()) / 2:
        for name in grey:
            yield Hit(name, "It is grey while most others are coloured.")


def blurred(seen: Examined) -> Iterator[Hit]:
    """Far less sharp than the others."""
    if typical := _median(seen, lambda facts: facts.look.sharpness):
        limit = typical * seen.settings.blur_share
        yield from _each(seen, lambda facts: facts.look.sharpness < limit, lambda facts: f"It is far less sharp than the others: {facts.look.sharpness:.0f}, where half of them are above {typical:.0f}.")  # fmt: skip


def dark(seen: Examined) -> Iterator[Hit]:
    """Nearly black."""
    yield from _each(seen, lambda facts: facts.look.brightness < seen.settings.min_brightness, lambda facts: f"It is very dark (its mean brightness is {facts.look.brightness:.0f} of 255).")  # fmt: skip


def bright(seen: Examined) -> Iterator[Hit]:
    """Nearly white."""
    yield from _each(seen, lambda facts: facts.look.brightness > seen.settings.max_brightness, lambda facts: f"It is very bright (its mean brightness is {facts.look.brightness:.0f} of 255).")  # fmt: skip


def empty_looking(seen: Examined) -> Iterator[Hit]:
    """Hardly anything in it."""
    yield from _each(seen, lambda facts: facts.look.detail < seen.settings.min_detail, lambda facts: "It is nearly one plain colour: there is hardly any detail in it.")  # fmt: skip


def odd_size(seen: Examined) -> Iterator[Hit]:
    """A picture of quite another size than the rest."""
    typical = _median(seen, lambda facts: facts.width * facts.height)
    for item, facts in seen.readable():
        factor = facts.width * facts.height / typical if typical else 1.0
        if not 1 / seen.settings.odd_size_factor <= factor <= seen.settings.odd_size_factor:
            yield Hit(item.name, f"It is {facts.width} x {facts.height} px: {factor:.1f} times the pixels of a typical picture here.")  # fmt: skip


def jpeg_blocks(seen: Examined) -> Iterator[Hit]:
    """Blocks of strong JPEG compression."""
    yield from _each(seen, lambda facts: facts.look.blocks > seen.settings.max_blocks, lambda facts: "Blocks of strong JPEG compression can be seen.")  # fmt: skip


def enlarged(seen: Examined) -> Iterator[Hit]:
    """A small picture made large."""
    yield from _each(seen, lambda facts: facts.look.fineness < seen.settings.min_fineness, lambda facts: f"It has no fine detail for {facts.width} x {facts.height} px: it was enlarged, or it is out of focus.")  # fmt: skip


def letterboxed(seen: Examined) -> Iterator[Hit]:
    """Plain bars at two edges."""
    yield from _each(seen, lambda facts: facts.look.border > seen.settings.max_border, lambda facts: f"Plain bars fill {facts.look.border:.0%} of its height or width.")  # fmt: skip


def _each(
    seen: Examined, wrong: Callable[[PictureFacts], bool], say: Callable[[PictureFacts], str]
) -> Iterator[Hit]:
    return (Hit(item.name, say(facts)) for item, facts in seen.readable() if wrong(facts))


def _median(seen: Examined, value: Callable[[PictureFacts], float]) -> float:
    values = [value(facts) for _, facts in seen.readable()]
    return median(values) if len(values) >= 5 else 0.0
