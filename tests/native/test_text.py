"""Captions become CLIP's ids in chunks as sd-scripts cuts them, and conditioning of the right layer."""

import json
from types import SimpleNamespace

import pytest
import torch

from kohya_bridge.engines.native.diffusers_side.text import BEGIN, END, TextStack, chunked, load_tokenizer
from kohya_bridge.errors import InvalidInput, NotFound
from scripts.make_tokenizer import make_tokenizer
from tests.bases import load_tiny
from tests.native_world import tokenizer_dir

pytestmark = pytest.mark.torch

LONG = ", ".join(f"tag number {number}" for number in range(100))
CAPTIONS = ["", "a cat", "char_alice, 1girl, smile", "naïve café 猫 😀", "UPPER case!!", LONG]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(tokenizer_dir())


def test_the_made_tokenizer_is_comfyuis(tmp_path, tokenizer):
    made = make_tokenizer(tmp_path)
    theirs = tokenizer_dir()
    assert json.loads((made / "vocab.json").read_text("utf-8")) == json.loads(
        (theirs / "vocab.json").read_text("utf-8")
    )
    merges = [(folder / "merges.txt").read_text("utf-8").split("\n")[1:] for folder in (made, theirs)]
    assert [line for line in merges[0] if line] == [line for line in merges[1] if line]
    ours = load_tokenizer(made)
    assert ours.model_max_length == tokenizer.model_max_length == 77
    assert all(ours(caption).input_ids == tokenizer(caption).input_ids for caption in CAPTIONS)


def test_a_tokenizer_folder_without_its_files_is_named(tmp_path):
    with pytest.raises(NotFound, match=r"no vocab\.json and no merges\.txt"):
        load_tokenizer(tmp_path)


def test_another_vocabulary_is_refused(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"a</w>": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(InvalidInput, match="CLIP's vocabulary"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_one_chunk_is_what_the_tokenizer_itself_pads_and_cuts(tokenizer, caption):
    ids = TextStack(tokenizer, [None]).tokenize([caption])[0]
    expected = tokenizer(
        caption, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    ).input_ids
    assert torch.equal(ids[:, 0], expected)


def sd_scripts_chunks(tokenizer, caption: str, length: int, pad: int) -> torch.Tensor:
    """Reference, by the rules of sd-scripts' strategy_base.py: cut the padded whole into rows, then mend marks."""
    whole = tokenizer(caption, truncation=True, max_length=length + 2).input_ids
    whole += [pad] * (length + 2 - len(whole))
    rows = []
    for start in range(1, length + 2 - 77 + 2, 75):
        row = [whole[0], *whole[start : start + 75], whole[-1]]
        if pad != END:
            if row[-2] not in (END, pad):
                row[-1] = END
            if row[1] == pad:
                row[1] = END
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize("length", [150, 225])
@pytest.mark.parametrize(
    "caption", [*CAPTIONS, LONG[:400], LONG[:500], "word " * 75, "word " * 150, "word " * 76]
)
def test_longer_captions_are_cut_into_chunks_as_sd_scripts_does(tokenizer, caption, length):
    ids = TextStack(tokenizer, [None, None]).tokenize([caption], length)
    assert torch.equal(ids[0][0], sd_scripts_chunks(tokenizer, caption, length, END))
    assert torch.equal(ids[1][0], sd_scripts_chunks(tokenizer, caption, length, 0))


def test_every_row_begins_with_the_begin_mark():
    assert {row[0] for row in chunked(list(range(1, 200)), 225, pad=0)} == {BEGIN}


@torch.no_grad()
def test_chunks_are_encoded_one_by_one_and_joined_between_one_pair_of_marks(sd15_file):
    text = load_tiny(sd15_file).text
    ids = text.tokenize([LONG, "a cat"], 150)
    joined = text.encode(ids).hidden
    assert joined.shape[:2] == (2, 152)
    first, second = (text.encode([ids[0][:, n : n + 1]]).hidden for n in (0, 1))
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(joined[:, :76], first[:, :76], **close)
    torch.testing.assert_close(joined[:, 76:], second[:, 1:], **close)


@torch.no_grad()
def test_clip_skip_takes_an_earlier_layer_and_norms_it(sd15_file):
    text = load_tiny(sd15_file).text
    ids = text.tokenize(["a cat"])
    encoder = text.encoders[0]
    body = getattr(encoder, "text_model", encoder)
    layers = encoder(ids[0][:, 0], output_hidden_states=True).hidden_states
    assert torch.equal(text.encode(ids, 2).hidden, body.final_layer_norm(layers[-2]))
    assert torch.allclose(text.encode(ids, 1).hidden, body.final_layer_norm(layers[-1]), atol=1e-6)


@torch.no_grad()
def test_sdxl_pools_the_first_chunk_at_its_end_mark(sdxl_file):
    text = load_tiny(sdxl_file).text
    short, padded = text.encode(text.tokenize(["a cat"], 75)), text.encode(text.tokenize(["a cat"], 225))
    torch.testing.assert_close(short.pooled, padded.pooled, atol=1e-5, rtol=1e-4)
    other = text.encode(text.tokenize(["a dog"], 75))
    assert not torch.allclose(short.pooled, other.pooled)


def test_a_stack_with_two_encoders_is_sdxl(tokenizer):
    assert TextStack(tokenizer, [SimpleNamespace(), SimpleNamespace()]).is_sdxl
