"""Rated words: which tags say that a picture is suggestive or explicit.

In: a caption. Out: the words of it that a rating does not allow. A list written for captions, so it holds tags as image
boards and caption models write them, whole words only, and knows when a word is negated or means a colour.
"""

from __future__ import annotations

import re

from ..building.character_options import RATINGS

SUGGESTIVE = (
    "bikini", "bra", "bralette", "brassiere", "buttocks", "cameltoe", "cleavage", "downblouse", "erotic", "fetish",
    "fishnets", "g string", "garter belt", "garter straps", "groin", "highleg", "lace panties", "latex bodysuit",
    "leotard wedgie", "lingerie", "micro bikini", "microskirt", "midriff peek", "navel piercing", "negligee", "nightie",
    "no bra", "no pants", "open shirt", "panties", "pantyshot", "pinup", "pin up", "pole dancing", "revealing clothes",
    "scantily clad", "seductive", "see through", "sensual", "sexy", "sheer clothes", "sideboob", "skimpy",
    "spread legs", "string bikini", "stripper", "strapless bra", "suggestive", "swimsuit", "thong",
    "transparent clothes", "underboob", "underwear", "undressing", "upskirt", "wardrobe malfunction", "wet clothes",
    "wet shirt",
)  # fmt: skip
EXPLICIT = (
    "after sex", "anal", "anus", "areola", "areolae", "bare breasts", "bdsm", "blowjob", "bondage", "bottomless",
    "breasts out", "clitoris", "completely nude", "condom", "cum", "cunnilingus", "dildo", "ejaculation", "erection",
    "explicit", "exposed breasts", "exposed genitals", "fellatio", "female pubic hair", "fingering", "full frontal",
    "genitalia", "genitals", "handjob", "hentai", "intercourse", "labia", "male pubic hair", "masturbation", "naked",
    "nipple", "nipples", "nsfw", "nude", "nudity", "nudist", "orgasm", "orgy", "penetration", "penis", "porn",
    "pornographic", "pubic hair", "pussy", "scrotum", "semen", "sex", "sex toy", "sexual act", "testicles", "topless",
    "uncensored", "vagina", "vibrator", "vulva",
)  # fmt: skip

_NEGATION = re.compile(r"(?:\b(?:no|not|non|never|without|zero|free of|avoid|isn t|aren t)(?: (?:any|a|an|visible|the))?[ -])$")  # fmt: skip
_NOT_THE_TAG = {
    "nude": re.compile(
        r"^ (?:lipstick|lips|colou?r(?:ed)?|heels|tones?|shades?|make ?up|palette|beige|pumps)\b"
    ),
    "explicit": re.compile(r"^ (?:permission|consent|licen[cs]e)\b"),
    "naked": re.compile(r"^ (?:eye|eyes|flame|mole rat|tree|trees|branches)\b"),
    "sex": re.compile(r"^ (?:unknown|unspecified)\b"),
    "suggestive": re.compile(r"^ of\b"),
    "condom": re.compile(r"^ ?inium\b"),
}


def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(
        r"(?<![a-z0-9])(" + "|".join(re.escape(word) for word in longest_first) + r")(?![a-z0-9])"
    )


_BY_RATING = {"suggestive": _pattern(SUGGESTIVE), "nsfw": _pattern(EXPLICIT)}


def words_above(caption: str, rating: str) -> list[str]:
    """The words of a caption that need a more permissive rating than this one, in order and each once."""
    text = re.sub(r"\s+", " ", re.sub(r"[_\-'’]", " ", caption.lower()))
    found = []
    for needed, pattern in _BY_RATING.items():
        if RATINGS.index(needed) <= RATINGS.index(rating):
            continue
        for match in pattern.finditer(text):
            other_sense = _NOT_THE_TAG.get(match[1])
            negated = _NEGATION.search(text[max(0, match.start() - 24) : match.start()])
            if not negated and not (other_sense and other_sense.match(text[match.end() :])):
                found.append((match.start(), match[1]))
    return list(dict.fromkeys(word for _, word in sorted(found)))
