"""How the demo's base model is trained, packed and put together: each part does what the next one builds on."""

import dataclasses
import hashlib
import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kohya_bridge.captions import plain_caption
from scripts.demo_base import train_denoiser
from scripts.demo_base.captions import NEGATIVE, full_caption, training_caption
from scripts.demo_base.encoded import Words
from scripts.demo_base.optimiser import MasteredMuon, orthogonal
from scripts.demo_base.packed import pack, unpack
from scripts.demo_base.pictures import (
    ALIKE,
    CHARACTER_COLOUR,
    CHARACTER_HAIR,
    HAIRS,
    ROOT,
    is_held_out,
    options_of,
    plan_person,
    plan_thing,
)
from scripts.demo_base.seeded_text import PREFIX, WORDS, seeded_text
from scripts.demo_base.shape import BASE_UNET
from scripts.demo_base.train_autoencoder import recoloured
from scripts.demo_base.train_denoiser import CAPTIONS_EACH, Run, Stage
from tests.native_world import tokenizer_dir

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def text_tensors():
    return seeded_text()


@pytest.fixture(scope="module")
def words(text_tensors):
    return Words(tokenizer_dir(), text_tensors)


def test_packed_weights_come_back_within_half_a_step(tmp_path):
    drawn = np.random.default_rng(0)
    weights = {
        "conv.weight": drawn.standard_normal((8, 4, 3, 3)).astype(np.float32) * np.arange(1, 9)[:, None, None, None],
        "norm.bias": drawn.standard_normal(8).astype(np.float32),
        "empty.weight": np.zeros((2, 3), np.float32),
    }  # fmt: skip
    pack(tmp_path / "x.npz", weights, share=1 / 16)
    found = unpack(tmp_path / "x.npz")
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        rows = weight.reshape(len(weight), -1)
        spread = np.sqrt(np.square(rows).mean(axis=1)).max() / 16
        assert np.abs(found[name] - weight).max() <= spread / 2 * 1.01 + 1e-3, name


def test_packing_is_about_as_small_as_a_bell_curve_allows(tmp_path):
    weights = {"w": np.random.default_rng(0).standard_normal((64, 4096)).astype(np.float32)}
    pack(tmp_path / "x.npz", weights, share=1 / 16)
    bits = (tmp_path / "x.npz").stat().st_size * 8 / weights["w"].size
    assert bits < 1.05 * np.log2(4.13 * 16)


def test_a_single_large_weight_is_not_cut_off(tmp_path):
    weights = {"w": np.ones((1, 4096), np.float32)}
    weights["w"][0, 7] = 50
    pack(tmp_path / "x.npz", weights, share=1 / 16)
    assert np.isclose(unpack(tmp_path / "x.npz")["w"][0, 7], 50, rtol=0.01)


def test_the_text_encoder_has_the_same_numbers_on_every_machine(text_tensors):
    names = [f"{PREFIX}encoder.layers.{n}.self_attn.{part}_proj.weight" for n in (0, 1) for part in ("q", "v", "out")]  # fmt: skip
    names += [f"{PREFIX}embeddings.{part}_embedding.weight" for part in ("token", "position")]
    drawn = b"".join(text_tensors[name].tobytes() for name in names)
    assert hashlib.sha256(drawn).hexdigest()[:16] == "d400edf741082a9f"


def test_a_colour_belongs_to_the_word_behind_it(words):
    """`hair` says which colour it has, wherever it stands, and `background` another."""
    pink = words(["1woman, pink hair, blue background"])[0].float()
    blue = words(["1woman, blue hair, pink background"])[0].float()
    later = words(["1woman, solo, blue hair, pink background"])[0].float()
    hair, ground = 5, 8
    moved = likeness(blue[hair], later[hair + 2])
    assert moved > likeness(blue[hair], blue[ground]) + 0.1
    assert moved > likeness(blue[hair], pink[hair])


def test_the_empty_end_of_a_caption_holds_the_whole_of_it(words):
    person, other, cat, nothing = words(
        [
            "1woman, blue hair, pink background",
            "1man, blue hair, pink background",
            "cat, white background",
            "",
        ]
    ).float()[:, 60]
    assert likeness(person, other) > 0.6 > likeness(person, cat)
    assert abs(likeness(person, nothing)) < 0.2


def likeness(one, other):
    """Cosine of what two positions say; their places are left out."""
    return float(torch.cosine_similarity(one[:WORDS], other[:WORDS], dim=0))


def test_the_short_cut_through_the_text_encoder_is_what_all_its_layers_say(words, text_tensors):
    """Training runs two layers; ComfyUI runs all twelve of the checkpoint."""
    whole = Words(tokenizer_dir(), text_tensors, layers=12, skip_mlp=False)
    caption = ["1man, solo, mohawk, teal hair, grey background"]
    assert torch.equal(whole(caption), words(caption))


def test_orthogonal_updates_have_singular_values_near_one():
    drawn = torch.randn(24, 96, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(drawn))
    assert values.min() > 0.6 and values.max() < 1.3


def little_model():
    torch.manual_seed(0)
    layers = (torch.nn.Linear(6, 16), torch.nn.GELU(), torch.nn.Linear(16, 16), torch.nn.GELU(), torch.nn.Linear(16, 2))  # fmt: skip
    return torch.nn.Sequential(*layers).to(torch.bfloat16)


def steps_of(model, optimiser, count):
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1)).bfloat16()
    wanted = torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 2].abs()], dim=1).float()
    losses = []
    for _ in range(count):
        loss = (model(inputs).float() - wanted).square().mean()
        loss.backward()
        optimiser.step(0.01)
        losses.append(loss.item())
    return losses


def test_a_half_precision_model_learns_by_its_masters():
    model = little_model()
    losses = steps_of(model, MasteredMuon(model, ends=("0.", "4.")), 80)
    assert losses[-1] < 0.3 * losses[0]


def test_training_goes_on_from_its_state_as_if_it_had_not_stopped():
    model = little_model()
    optimiser = MasteredMuon(model, ends=("0.", "4."))
    steps_of(model, optimiser, 5)
    kept = {name: each.clone() for name, each in optimiser.state().items()}
    straight = steps_of(model, optimiser, 5)
    other = little_model()
    resumed = MasteredMuon(other, ends=("0.", "4."))
    resumed.load(kept)
    assert steps_of(other, resumed, 5) == straight


def test_the_mean_of_the_weights_is_lent_and_given_back():
    model = little_model()
    optimiser = MasteredMuon(model, ends=("0.", "4."))
    steps_of(model, optimiser, 3)
    before = model[2].weight.detach().clone()
    with optimiser.mean_weights():
        assert not torch.equal(model[2].weight, before)
    assert torch.equal(model[2].weight, before)


def test_captions_say_only_what_is_in_the_picture():
    chance = random.Random(0)
    for _ in range(200):
        choices = plan_person(chance)
        everything = set(full_caption({**choices, "style": "hand-drawn avatar"}).split(", "))
        said = training_caption(choices, chance)
        if said not in ("", NEGATIVE):
            first, *rest = said.split(", ")
            assert set(rest) <= everything and (first in everything or first.startswith("char_"))
            assert plain_caption(said) == said


def test_captions_leave_words_out_and_sometimes_everything():
    chance = random.Random(0)
    choices = plan_thing(chance)
    said = [training_caption(choices, chance) for _ in range(400)]
    without_background = [each for each in said if choices["subject"] in each and "background" not in each]
    assert 40 < len(without_background) < 160
    assert 10 < sum(each in ("", NEGATIVE) for each in said) < 80


def test_about_a_quarter_of_all_combinations_is_kept_from_training():
    chance = random.Random(0)
    people = [plan_person(chance) for _ in range(3000)]
    named = [each for each in people if {"hair_style", "hair_colour"} <= each.keys()]
    assert 0.15 < sum(map(is_held_out, named)) / len(named) < 0.35
    assert not any(is_held_out(each) for each in people if each not in named)


def test_the_demo_character_is_in_none_of_the_pictures():
    """Her hair, its colour, her head and her nose are hers alone; and other people have nearly every other hair."""
    hers = json.loads((ROOT / "scripts" / "demo_character.json").read_text("utf-8"))["fixed"]
    assert hers["hair"] == [CHARACTER_HAIR] and bytes(CHARACTER_COLOUR).hex() == hers["hairColor"][0]
    chance = random.Random(0)
    drawn = [options_of(plan_person(chance), chance) for _ in range(2000)]
    for part in ("hair", "head", "nose"):
        assert not any(each[part] == hers[part] for each in drawn), part
    apart = [np.subtract(list(bytes.fromhex(each["hairColor"][0])), CHARACTER_COLOUR) for each in drawn]
    assert min(np.linalg.norm(each) for each in apart) > ALIKE
    assert len({each["hair"][0] for each in drawn}) == len(HAIRS) - 1


def test_recolouring_leaves_black_and_white_and_every_second_picture_alone():
    pixels = torch.tensor([-1.0, 1.0, 0.2]).view(1, 1, 1, 3).expand(4, 3, 2, 3)
    made = recoloured(pixels, torch.Generator().manual_seed(0))
    assert torch.equal(made[..., :2], pixels[..., :2])
    assert torch.equal(made[1::2], pixels[1::2])
    assert (made[::2, :, :, 2].std(dim=1) > 0.05).all()  # grey has become a colour


@pytest.fixture(scope="module")
def few_pictures(tmp_path_factory):
    """A folder with two pictures' latents and captions, as `train_denoiser` makes them from real pictures."""
    folder = tmp_path_factory.mktemp("base")
    drawn = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 1, 1, generator=drawn).expand(2, 4, 4, 4).bfloat16()
    save_file({"latents": latents.contiguous()}, folder / "latents-4.safetensors")
    hidden = torch.randn(2 * CAPTIONS_EACH, 77, 768, generator=drawn).bfloat16()
    save_file({"hidden": hidden}, folder / "captions.safetensors")
    return folder


NARROW = dataclasses.replace(
    BASE_UNET, channels=(64, 64)
)  # fp32 and a thirtieth of the weights: any CPU takes seconds


def test_the_denoiser_learns_notes_how_and_goes_on_from_its_state(few_pictures, monkeypatch):
    monkeypatch.setattr(train_denoiser, "save_preview", lambda *given, **named: None)
    monkeypatch.setattr(train_denoiser, "WARM_UP", 1)
    stage = Stage(side=4, steps=12, batch=8, rate=2e-3, cool=6)
    given = {"rank": 0, "workers": 1, "tokenizer_dir": tokenizer_dir(), "precision": torch.float32, "shape": NARROW}  # fmt: skip
    first = Run(few_pictures, stage, **given)
    untrained = noise_error(first)
    first.train()
    assert noise_error(first) < 0.7 * untrained
    again = Run(few_pictures, stage, **given)
    assert again.optimiser.steps == 12
    assert all(
        torch.equal(each, first.optimiser.masters[name]) for name, each in again.optimiser.masters.items()
    )
    row = json.loads((few_pictures / "denoiser.log.jsonl").read_text("utf-8").splitlines()[-1])
    assert row["step"] == 12 and row["batch"] == 8 and row["noise_error"] > 0
    assert stage.rate_at(0) == 2e-3 and stage.rate_at(11) == pytest.approx(2e-3 / 6)


@torch.no_grad()
def noise_error(run):
    """On the same noise every time."""
    run.generator.manual_seed(1)
    return float(run.loss()[1])
