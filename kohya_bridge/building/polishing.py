"""Polishing a prompt with a local language model, with the plain prompt as fallback.

In: a built character and a model. Out: the character with a smoother prompt, and a sentence on what happened. The trigger stays
the first word whatever the model says; caption and attributes are never touched: they must stay true.
"""

from __future__ import annotations

from dataclasses import replace

from ..captions import plain_caption
from ..console import without_steering
from ..datasets.ollama import Ollama
from ..errors import Unavailable
from ..trigger import put_first
from .character import Character

MOST_LETTERS = 1200
INSTRUCTION = (
    "Rewrite this description of one picture as a single fluent paragraph for an image generator. Keep every fact, add none, "
    "use no line breaks, quotes or comments. Description: {prompt}"
)


def polish(character: Character, model: Ollama) -> tuple[Character, str]:
    """The character with a polished prompt, or as it was with the reason why. Never raises for a model that misbehaves."""
    facts = character.prompt.removeprefix(f"{character.trigger}, ") if character.trigger else character.prompt
    try:
        answer = model.ask(INSTRUCTION.format(prompt=facts))
    except Unavailable as error:
        return character, f"The prompt was not polished: {error.problem} {error.fix}"
    text = plain_caption(without_steering(answer).strip("\"' "))
    if not text or len(text) > MOST_LETTERS:
        return character, f"The prompt was not polished: the answer of {model.model} is not one paragraph."
    if character.trigger:
        text = put_first(text, character.trigger)
    return replace(character, prompt=text), f"Polished by {model.model}."
