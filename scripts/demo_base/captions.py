"""What is said of each training picture: the builder's words, some left out, sometimes behind a trigger.

In: a picture's choices and chance. Out: a caption. Leaving words out teaches the base that what isn't said may be anything;
made-up triggers teach it that a strange first word changes nothing, which is what a LoRA then changes.
"""

from __future__ import annotations

import random

from kohya_bridge.building.character import build_character, load_options

from .pictures import Choices

KEPT = 0.75  # of all attributes that a caption could name
OPTIONS = load_options()
SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "ren",
    "tu",
    "vo",
    "ash",
    "el",
    "ni",
    "dor",
    "wy",
    "za",
    "pe",
    "sil",
    "bra",
    "joy",
)
NEGATIVE = build_character(OPTIONS, choices={}, seed=0, family="sd15").negative_prompt


def full_caption(choices: Choices, *, trigger: str = "") -> str:
    """Everything that a picture shows, in the builder's words; a subject that is no person stands where free text does."""
    named = {name: value for name, value in choices.items() if name != "subject" and not name.startswith("_")}
    made = build_character(OPTIONS, choices=named, seed=0, trigger=trigger, family="sd15")
    return f"{choices['subject']}, {made.caption}" if "subject" in choices else made.caption


def training_caption(choices: Choices, chance: random.Random) -> str:
    """One of the many captions of a picture; one in ten says nothing, or what pictures should not be."""
    if chance.random() < 0.1:
        return chance.choice(["", NEGATIVE])
    kept = {
        name: value
        for name, value in choices.items()
        if name in ("subject", "gender") or chance.random() < KEPT
    }
    if "subject" in kept:
        words = [kept["subject"], "solo"] if chance.random() < 0.5 else [kept["subject"]]
        scene = full_caption({"background": kept["background"]}) if "background" in kept else ""
        ordered = [", ".join(words), scene] if chance.random() < 0.7 else [scene, ", ".join(words)]
        caption = ", ".join(part for part in ordered if part)
    else:
        if chance.random() < 0.3:
            kept["style"] = "hand-drawn avatar"
        caption = full_caption(kept)
    return f"{_made_up_trigger(chance)}, {caption}" if chance.random() < 0.3 else caption


def _made_up_trigger(chance: random.Random) -> str:
    return "char_" + "".join(chance.choices(SYLLABLES, k=chance.randint(1, 2)))
