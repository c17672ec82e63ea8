"""A family's captions are counted by its own tokenizer, as transformers counts them."""

import hypothesis
import pytest
from hypothesis import strategies

from kohya_bridge.architectures import ARCHITECTURES, architecture
from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.caption_tokens import library_tokens, reading
from kohya_bridge.lint import lint_dataset
from tests.datasets.lint_world import SETTINGS, TRAINING, recaption
from tests.datasets.test_clip_tokens import TEXTS
from tests.native_world import tokenizer_dir as comfyuis_clip

FOLDERS = {"qwen": "qwen25_tokenizer", "t5": "t5_tokenizer"}
LONG = "char_x, " + "a red hat beside a blue house, " * 100
texts = strategies.text(max_size=120) | strategies.lists(strategies.sampled_from(TEXTS), max_size=3).map(
    " ".join
)


@pytest.fixture(scope="module")
def clip_dir():
    return comfyuis_clip()


@pytest.fixture(scope="module", params=FOLDERS)
def both(request, clip_dir):
    """Our tokenizer and transformers' own, of one folder."""
    import transformers

    folder = clip_dir.parent / "text_encoders" / FOLDERS[request.param]
    kind = {"qwen": transformers.Qwen2Tokenizer, "t5": transformers.T5TokenizerFast}[request.param]
    return library_tokens(request.param, folder), kind.from_pretrained(folder)


@hypothesis.given(texts)
@hypothesis.example(TEXTS[0])
def test_tokens_are_those_of_transformers(both, text):
    ours, reference = both
    hypothesis.assume("<" not in text)  # words such as </s> are marks to transformers and text to a trainer
    assert ours.tokens(text) == reference.tokenize(text)


@hypothesis.given(texts, strategies.integers(1, 60))
def test_a_cut_loses_no_letter_but_blanks_and_commas_and_keeps_to_the_limit(both, text, length):
    tokens, _ = both
    cut = tokens.cut(text, length=length)
    assert tokens.count(cut.kept) <= max(length, tokens.count(text) if not cut.lost else 0)
    assert text.startswith(cut.kept) and text.endswith(cut.lost)
    between = text[len(cut.kept) : len(text) - len(cut.lost)]
    assert not between.strip(" ,\n\t") or between.isspace() or not between.strip()


@pytest.mark.parametrize("name", [each.name for each in ARCHITECTURES.values() if each.captions.tokens])
def test_every_family_is_counted_or_its_limit_is_told_in_words(name, clip_dir):
    family = architecture(name)
    found = reading(family, clip_dir)
    assert found.limit == family.captions.tokens
    assert (found.tokens is not None and not found.note) or str(found.limit) in found.note
    assert (family.captions.tokenizer in FOLDERS) == (found.tokens is not None)


@pytest.mark.parametrize(("name", "limit"), [("zimage", 512), ("flux1", 512), ("sd15", 75)])
def test_lint_warns_of_a_caption_beyond_what_its_family_was_made_for(name, limit, dataset_dir, clip_dir):
    recaption(dataset_dir, LONG)
    report = lint_dataset(
        read_dataset(dataset_dir), settings=SETTINGS, training=TRAINING, tokenizer_dir=clip_dir, of_family=architecture(name)
    )  # fmt: skip
    (found,) = [each for each in report.findings if each.rule == "W110"]
    assert str(limit) in found.problem
