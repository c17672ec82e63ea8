"""No text costs the square of its length: every function and every lint rule that reads other people's words, on texts that were
made to be slow. What is compared is the time for a text with the time for one sixteen times as long, on the same machine in the same moment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kohya_bridge.building.character import character_from_prompt
from kohya_bridge.building.character_options import load_options
from kohya_bridge.building.coverage import coverage
from kohya_bridge.captions import CaptionRow, lines_joined, plain_caption, without_emphasis
from kohya_bridge.datasets.dataset_folder import Dataset, DatasetItem
from kohya_bridge.datasets.dataset_metadata import DatasetMetadata
from kohya_bridge.datasets.pictures import PictureFacts
from kohya_bridge.engines.failures import explain_death
from kohya_bridge.lint.catalogue import RULES
from kohya_bridge.lint.finding import Examined, LintSettings
from kohya_bridge.lint.repair_rules import mended_caption
from kohya_bridge.lint.words import words_above
from kohya_bridge.package.scrub import scrub_json, scrub_metadata, scrub_text
from kohya_bridge.trigger import gather, near_miss, put_first, respell, without
from tests.growing_text import worse_than_linear

TRIGGER = "char_x"
ABOUT_CAPTIONS = [rule for rule in RULES if rule.id[1] in "14"]
METADATA = DatasetMetadata(lora_tag=TRIGGER, class_word="woman", absorb=("red hair",), licence="CC0-1.0")
PICTURE = PictureFacts(bytes=9000, format="PNG", mode="RGB", width=512, height=512)


def dataset(caption: str) -> Dataset:
    """Five pictures, the first with this caption."""
    captions = [caption, *(f"{TRIGGER}, a woman in place {number}" for number in range(4))]
    items = tuple(
        DatasetItem(
            Path(f"images/{number}.png"), text, "captions.jsonl", CaptionRow(f"{number}.png", text, text[:99])
        )
        for number, text in enumerate(captions)
    )
    return Dataset("wren", Path("wren").resolve(), items, METADATA)


def examined(caption: str) -> Examined:
    seen = dataset(caption)
    return Examined(
        seen,
        LintSettings(),
        {item.name: PICTURE for item in seen.items},
        trigger=TRIGGER,
        siblings={"smith": "char_y"},
    )


OPTIONS = load_options()
READERS = {
    "plain_caption": plain_caption,
    "without": lambda text: without(f"{text} {TRIGGER}", TRIGGER),
    "put_first": lambda text: put_first(f"{text} {TRIGGER}", TRIGGER),
    "gather": lambda text: gather(f"{text}, {TRIGGER}", TRIGGER),
    "respell": lambda text: respell(f"{text}, Char-X", TRIGGER),
    "near_miss": lambda text: near_miss(text, TRIGGER, others=("char_y",)),
    "lines_joined": lines_joined,
    "mended_caption": lambda text: mended_caption(text, trigger=TRIGGER),
    "words_above": lambda text: words_above(text, "sfw"),
    "coverage": lambda text: coverage(dataset(text), OPTIONS, categories=("light",)),
    "explain_death": lambda text: explain_death(1, text),
    "scrub_text": lambda text: scrub_text(text, names=("wizbox",)),
    "scrub_json": lambda text: scrub_json({"a": [text]}, names=("wizbox",)),
    "scrub_metadata": lambda text: scrub_metadata({"ss_x": text}, names=("wizbox",)),
    "character_from_prompt": lambda text: character_from_prompt(OPTIONS, text, seed=1, trigger=TRIGGER),
    **{f"{rule.id} {rule.check.__name__}": lambda text, rule=rule: list(rule.check(examined(text))) for rule in ABOUT_CAPTIONS},
}  # fmt: skip
SLOWER = {"explain_death": 60, "coverage": 120, "mended_caption": 120, "scrub_json": 120}
"""Where each letter costs more, shorter texts show it too."""


@pytest.mark.parametrize("name", READERS)
def test_no_text_takes_the_square_of_its_length(name):
    assert worse_than_linear(READERS[name], length=SLOWER.get(name, 250)) == {}


# --- and the quick ways say what the slow ones said -----------------------------------------------------------------------


def without_emphasis_slowly(text: str) -> str:
    """Innermost brackets first, again and again until there are none: right, and quadratic."""
    text = text.replace(r"\(", "\ue000").replace(r"\)", "\ue001")
    previous = None
    while previous != text:
        previous = text
        text = re.sub(r"[(\[]([^()\[\]]*?)(?::-?\d*\.?\d+)?[)\]]", r"\1", text)
    return text.replace("\ue000", "(").replace("\ue001", ")")


def test_the_slow_way_would_be_found():
    assert "(..)" in worse_than_linear(without_emphasis_slowly, length=120)


@settings(max_examples=500)
@given(st.text(alphabet="()[]a:1.-\\", max_size=22))
def test_brackets_and_weights_go_as_if_the_innermost_were_taken_first(text):
    assert without_emphasis(text) == without_emphasis_slowly(text)
