"""What repairs want, without doing it: better captions, names and triggers, and files that are not needed.

In: what lint examined. Out: new text, new names, lists of files. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from pathlib import PurePosixPath

from ..building.character_options import TRIGGER
from ..captions import has_line_breaks, lines_joined, plain_caption
from ..datasets.dataset_folder import IMAGES_NAME, TRAINED_SUFFIXES
from ..datasets.pictures import SUFFIX_OF
from ..trigger import ensure_first, gather, places, rename, respell
from .caption_rules import sampler_mark
from .file_rules import awkward_name, ignored_picture, junk, same_stem, stale_cache, wrong_ending
from .finding import Examined

MAX_STEM = 80
MOST_ROUNDS = 8


def mended_trigger(trigger: str) -> str:
    """The trigger as a plain token: `<char_Alice>` becomes `char_alice`. Unchanged if nothing usable is left."""
    if TRIGGER.fullmatch(trigger):
        return trigger
    plain = re.sub(r"[^a-z0-9_]+", "_", _ascii(trigger).lower()).strip("_")[:64]
    return plain or trigger


def mended_caption(
    caption: str, *, trigger: str, old_trigger: str = "", others: Collection[str] = ()
) -> tuple[str, str]:
    """`(rule, caption)`: on one line, without sampler syntax, with the trigger once and first. No rule: no change.

    Only what a rule finds is changed, and no word goes but the trigger's own: a trigger within a sentence stays where it is,
    and so does what may be another character or only looks like the trigger. `others` are triggers of other characters. Mending twice is mending once.
    Without a trigger only lines and syntax are mended.
    """
    steps: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("W113", lambda text: lines_joined(text) if has_line_breaks(text) else text),
        ("E402", lambda text: rename(text, old_trigger, trigger) if trigger else text),
        ("W109", _without_syntax),
        ("W406", lambda text: respell(text, trigger, others=others)),
        ("E403", lambda text: ensure_first(text, trigger)),
        ("", lambda text: gather(text, trigger)),
    )
    rules, text = [], caption
    for rule, mend in steps:
        mended = mend(text) if text.strip() else text
        if mended != text:
            rules.append(rule or ("W405" if len(places(text, trigger)) > 1 else "W404"))
        text = mended
    return (rules[0], text) if rules and text.strip() else ("", caption)


def _without_syntax(text: str) -> str:
    """What is nested too deep to become plain is left to whoever wrote it."""
    plain = text
    for _ in range(MOST_ROUNDS):
        if not sampler_mark(plain):
            return plain
        plain = plain_caption(plain)
    return text


def surplus_pictures(seen: Examined) -> dict[str, str]:
    """Pictures that show exactly what an earlier one shows -> that one. The one with a caption stays."""
    kept: dict[str, str] = {}
    dropped = {}
    for item, facts in sorted(seen.readable(), key=lambda pair: (not pair[0].caption.strip(), pair[0].name)):
        if not facts.pixels:
            continue
        if facts.pixels in kept:
            dropped[item.name] = kept[facts.pixels]
        else:
            kept[facts.pixels] = item.name
    return dropped


def unneeded_files(seen: Examined) -> dict[str, tuple[str, str]]:
    """Files (relative to the dataset) that can go -> rule and what is done."""
    found = {
        hit.subject: ("W313", "Move the cache away; training makes it again.") for hit in stale_cache(seen)
    }
    return found | {hit.subject: ("I312", "Move it away.") for hit in junk(seen)}


def new_names(seen: Examined, *, without: Collection[str] = ()) -> dict[str, tuple[str, str]]:
    """Pictures in `images/` (file name) that need another name -> rule and new name. New names collide with nothing."""
    taken = {item.name.lower() for item in seen.items} | {
        PurePosixPath(n).name.lower() for n in seen.dataset.others
    }
    wanted: dict[str, tuple[str, str]] = {}
    reasons = [(hit.subject, rule) for rule, check in (("W308", same_stem), ("W310", wrong_ending), ("W311", awkward_name)) for hit in check(seen)]  # fmt: skip
    reasons += [
        (PurePosixPath(hit.subject).name, "E307")
        for hit in ignored_picture(seen)
        if PurePosixPath(hit.subject).parent.as_posix() == IMAGES_NAME
        and hit.subject.lower().endswith(TRAINED_SUFFIXES)
    ]
    for name, rule in reasons:
        if name in wanted or name in without:
            continue
        facts = seen.facts.get(name)
        suffix = PurePosixPath(name).suffix.lower()
        if facts and facts.format in SUFFIX_OF and suffix not in SUFFIX_OF[facts.format]:
            suffix = SUFFIX_OF[facts.format][0]
        new = _free(
            _safe_stem(PurePosixPath(name).stem), suffix, taken - {name.lower()} if rule == "E307" else taken
        )
        taken.add(new.lower())
        wanted[name] = (rule, new)
    return wanted


def _safe_stem(stem: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", _ascii(stem)).strip("-.")[:MAX_STEM]
    return plain or "picture"


def _free(stem: str, suffix: str, taken: set[str]) -> str:
    stems = {PurePosixPath(name).stem for name in taken}
    name, number = stem, 2
    while name.lower() in stems or f"{name}{suffix}".lower() in taken:
        name, number = f"{stem}-{number}", number + 1
    return name + suffix


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
