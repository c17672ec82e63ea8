"""One module answers every question about a trigger: the same answer for builder, export, lint, repair, preservation and grids."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kohya_bridge.captions import plain_caption
from kohya_bridge.lint.caption_rules import sampler_mark
from kohya_bridge.lint.repair_rules import mended_caption
from kohya_bridge.trigger import (
    ensure_first,
    gather,
    has,
    is_first,
    near_miss,
    places,
    put_first,
    rename,
    respell,
    without,
)

TRIGGERS = ("char_zed", "wren", "sks2", "char_x")
OTHERS = frozenset({"char_zoe", "char_zen"})
WORDS = (
    "smiling", "a red hat", "holding hands", "char_zoe", "char_zen", "char_zad", "Wren", "a Wren bird beside her", "char_zed's hat",
    "Char_Zed", "char-zed", "char zed", "<char_zed>", "(char_zed:1.2)", "photo of char_zed smiling", "char_zed standing", "wrens",
    "wrén", "wrenの庭", "赤い帽子", "<lora:wren:0.8>", "<lora:char_zed:1>", "[1920s]", ":)", "\\(x\\)", "BREAK", "{red|blue} coat",
    "__colour__", "", " ", "A girl.", "\n", "one\ntwo", "char_zed_2", "xchar_zed", "((detailed))", "CHAR_ZED", "sks2", "char_x", "x",
)  # fmt: skip
tags = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(TRIGGERS),
    st.text(alphabet="aZ_-<>()[]{}|:1.\\é字\n ", max_size=8),
)
captions = st.one_of(
    st.lists(tags, max_size=8).map(", ".join), st.lists(tags, max_size=6).map(" ".join), st.text(max_size=40)
)
triggers = st.sampled_from(TRIGGERS)


@pytest.mark.parametrize(
    ("text", "trigger", "there"),
    [
        ("char_alice, smiling", "char_alice", True),
        ("(char_alice:1.2), smiling", "char_alice", True),
        ("[char_alice], smiling", "char_alice", True),
        ("char_alice's hat", "char_alice", True),
        ("portrait:char_alice.", "char_alice", True),
        ("char_aliceの庭", "char_alice", True),
        ("char_alice2, smiling", "char_alice", False),
        ("char_alice_2, smiling", "char_alice", False),
        ("xchar_alice", "char_alice", False),
        ("Char_Alice, smiling", "char_alice", False),
        ("a girl, <lora:char_alice:0.8>", "char_alice", False),
        ("wrén, wrenø", "wren", False),
        ("a Wren bird", "wren", False),
        ("", "char_alice", False),
        ("smiling", "", False),
    ],
)
def test_a_trigger_stands_where_it_is_a_whole_word_as_it_is_written(text, trigger, there):
    assert has(text, trigger) is there
    assert (ensure_first(text, trigger) == text) is (there or not trigger)


@pytest.mark.parametrize(
    ("text", "trigger", "bare"),
    [
        ("a Wren bird beside her, wren", "wren", "a Wren bird beside her"),
        ("wren, a Wren beside her", "wren", "a Wren beside her"),
        ("CHAR_WREN, smiling", "char_wren", "smiling"),
        ("SKS2 person", "sks2", "person"),
        ("wrenchar, wren", "wren", "wrenchar"),
        ("a,  b", "wren", "a,  b"),
    ],
)
def test_what_is_left_without_the_trigger(text, trigger, bare):
    assert without(text, trigger) == bare


@given(captions, triggers)
def test_whatever_the_text_the_answers_agree(text, trigger):
    assert has(text, trigger) == bool(places(text, trigger))
    assert all(text[start:end] == trigger for start, end in places(text, trigger))
    assert is_first(text, trigger) <= has(text, trigger)
    assert has(ensure_first(text, trigger), trigger)
    assert is_first(put_first(text, trigger), trigger)
    assert len(places(put_first(text, trigger), trigger)) == 1
    assert not has(without(text, trigger), trigger)
    assert not has(near_miss(text, trigger), trigger)


@given(captions, triggers)
def test_every_way_to_change_a_text_is_at_its_end_after_once(text, trigger):
    ways = {
        "put_first": put_first, "ensure_first": ensure_first, "gather": gather, "respell": respell, "without": without,
    }  # fmt: skip
    for name, way in ways.items():
        once = way(text, trigger)
        assert way(once, trigger) == once, name


@given(captions, st.sampled_from(["", " "]))
@example("char_x,, smiling", "")
def test_without_a_trigger_nothing_is_found_and_nothing_changed(text, trigger):
    assert places(text, trigger) == [] and not has(text, trigger)
    for way in (put_first, ensure_first, gather, respell, without):
        assert way(text, trigger) == text, way.__name__
    assert rename(text, trigger, "char_x") == text
    rule, mended = mended_caption(text, trigger="", others=OTHERS)
    assert rule in ("", "W113", "W109") and (rule or mended == text)


def words_of(text: str) -> list[str]:
    return sorted(re.findall(r"\w+", text))


def less_the_trigger(text: str, trigger: str) -> list[str]:
    """All words of a caption but the trigger and its other spellings."""
    spelling = re.compile(re.escape(trigger).replace("_", r"(?:_|-|\ )"), re.IGNORECASE)
    return words_of(spelling.sub(" ", text))


@settings(max_examples=400)
@given(captions, triggers)
@example("char_zed, char_zoe, holding hands", "char_zed")
@example("char_zad, holding hands", "char_zed")
@example("photo of char_zed smiling, a (red:1.2) hat", "char_zed")
@example("smiling\n((wren", "wren")
def test_mending_twice_is_mending_once(text, trigger):
    _, once = mended_caption(text, trigger=trigger, others=OTHERS)
    assert mended_caption(once, trigger=trigger, others=OTHERS) == ("", once)


@settings(max_examples=400)
@given(captions, triggers)
@example("char_zed, char_zoe, holding hands", "char_zed")
@example("red_hat, wearing a red hat, red hat", "red_hat")
def test_no_word_goes_but_the_triggers_own_and_the_samplers_syntax(text, trigger):
    _, mended = mended_caption(text, trigger=trigger, others=OTHERS)
    allowed, plain = [less_the_trigger(text, trigger)], text
    while sampler_mark(plain) and len(allowed) < 9:
        plain = plain_caption(plain)
        allowed.append(less_the_trigger(plain, trigger))
    assert less_the_trigger(mended, trigger) in allowed


@settings(max_examples=400)
@given(captions, triggers)
def test_other_characters_stay(text, trigger):
    _, mended = mended_caption(plain_caption(text), trigger=trigger, others=OTHERS)
    for other in OTHERS - {trigger}:
        assert len(places(mended, other)) == len(places(plain_caption(text), other))


@given(st.lists(st.sampled_from(["smiling", "a photo of char_zed on a hill", "two hats", "her char_zed coat", "char_zed"]), min_size=1, max_size=5))  # fmt: skip
def test_no_sentence_is_torn(parts):
    _, mended = mended_caption(", ".join(parts), trigger="char_zed")
    assert [tag for tag in mended.split(", ") if tag != "char_zed"] == [part for part in parts if part != "char_zed"]  # fmt: skip


@pytest.mark.parametrize(
    ("caption", "trigger", "rule", "mended"),
    [
        ("char_zed, char_zoe, holding hands", "char_zed", "", "char_zed, char_zoe, holding hands"),
        ("char_zoe, holding hands", "char_zed", "E403", "char_zed, char_zoe, holding hands"),
        ("char_zad, holding hands", "char_zed", "E403", "char_zed, char_zad, holding hands"),
        ("a photo of char_zed smiling", "char_zed", "", "a photo of char_zed smiling"),
        ("smiling, char_zed", "char_zed", "W404", "char_zed, smiling"),
        ("smiling ,char_zed,  a hat", "char_zed", "W404", "char_zed, smiling ,  a hat"),
        ("char_zed's hat, smiling", "char_zed", "", "char_zed's hat, smiling"),
        ("(char_zed), smiling", "char_zed", "", "(char_zed), smiling"),
        ("char_zed, a hat, Char_Zed", "char_zed", "W406", "char_zed, a hat"),
        ("red_hat, wearing a red hat, red hat", "red_hat", "", "red_hat, wearing a red hat, red hat"),
        ("a Wren bird beside her, wren", "wren", "W404", "wren, a Wren bird beside her"),
        ("A girl.\nShe smiles", "wren", "W113", "wren, A girl. She smiles"),
        ("wren, a girl (1920s)", "wren", "", "wren, a girl (1920s)"),
        ("Category, Cat", "cat", "W406", "cat, Category"),
    ],
)
def test_captions_are_mended_as_far_as_that_needs_no_judgement(caption, trigger, rule, mended):
    assert mended_caption(caption, trigger=trigger, others=OTHERS) == (rule, mended)


def test_a_renamed_trigger_is_renamed_as_a_word():
    assert mended_caption("Cat, Category, a Cat", trigger="cat", old_trigger="Cat") == ("E402", "cat, Category, a cat")  # fmt: skip
