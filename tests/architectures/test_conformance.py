"""Every family of the list is whole: each verb works for it, or says in a sentence why it does not."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import datetime, timezone

import pytest

from kohya_bridge.architectures import ARCHITECTURES, architecture
from kohya_bridge.building.character_options import PROMPT_STYLES
from kohya_bridge.datasets.dataset_metadata import DatasetMetadata
from kohya_bridge.device.description import Device
from kohya_bridge.engine_names import ENGINES
from kohya_bridge.engines.registry import load_engines
from kohya_bridge.errors import InvalidInput, Unavailable
from kohya_bridge.models.safetensors_header import read_header
from kohya_bridge.package.facts import NOT_MEASURED, PackageFacts
from kohya_bridge.package.hub import HUB_MODEL
from kohya_bridge.package.metadata import packaged_metadata
from kohya_bridge.package.release import check_release
from kohya_bridge.package.sidecars import a1111_sidecar
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, ModelFileFacts, TrainingRequest, make_plan
from kohya_bridge.presets import PRESETS
from kohya_bridge.runs.disk_need import needed_bytes
from kohya_bridge.runs.engine_choice import choose_engine
from kohya_bridge.runs.forecast import forecast
from kohya_bridge.runs.usual_grid import usual_grid
from kohya_bridge.settings import TrainingSettings
from tests.architectures import golden

EVERY = [pytest.param(each, id=each.name) for each in ARCHITECTURES.values()]
SENTENCE = re.compile(r"\S+ .*[.!]", re.DOTALL)


def plan_of(family, *, preset="standard", engine="native", kohya=None, **files):
    request = TrainingRequest(
        dataset="dots",
        base_model="base.safetensors",
        preset=preset,
        settings={"mixed_precision": "bf16"},
        kohya=kohya or {},
    )
    return make_plan(
        request,
        dataset=DatasetFacts(slug="dots", digest="d" * 64, images=24, trigger="char_dots"),
        base_model=BaseModelFacts(name="base.safetensors", sha256="b" * 64, family=family.name),
        engine=engine,
        engine_version="1",
        model_files={option: ModelFileFacts(name=name, sha256="f" * 64) for option, name in files.items()},
    )


def names_of(family):
    return {file.option: f"{file.option}.safetensors" for file in family.model_files}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("family", EVERY)
def test_its_presets_give_a_valid_plan_and_say_where_they_come_from(family, preset):
    plan = plan_of(family, preset=preset)
    assert plan.settings.resolution % family.bucket_step == 0
    assert not family.flow or plan.settings.min_snr_gamma == 0
    known = set(TrainingSettings.model_fields)
    for numbers in (family.presets.always, *family.presets.by_name.values()):
        assert set(numbers) <= known
    assert set(family.presets.by_name) <= set(PRESETS)
    assert SENTENCE.fullmatch(family.presets.sources[""]) and set(family.presets.sources) - {""} <= known


@pytest.mark.parametrize("family", EVERY)
def test_every_estimate_is_given_and_makes_sense(family):
    costs = family.estimates
    assert all(getattr(costs, each.name) > 0 for each in fields(costs))
    assert costs.checkpointed_gib < costs.activations_gib
    assert needed_bytes(plan_of(family)) > 1e6


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("family", EVERY)
def test_what_a_training_takes_is_told_before_it_starts(family, preset):
    card = Device("cuda", "NVIDIA GeForce RTX 4090", "8.9", 24.0)
    told = forecast(plan_of(family, preset=preset), None, card)
    assert family.estimates.weights_gib < told.training_gib < 200 and told.encoding_gib > 0
    assert 0 < told.seconds_per_step < 600
    assert re.fullmatch(r"Estimate: about .* of 24 GiB .* s a step, .*\.", told.sentence())


@pytest.mark.parametrize("family", EVERY)
def test_its_words_are_those_that_others_know(family):
    assert family.prompt_style in PROMPT_STYLES
    assert family.names.modelspec.endswith("/lora")
    assert not family.names.hub_base or HUB_MODEL.fullmatch(family.names.hub_base)
    assert family.names.civitai and family.names.lora_manager and family.names.hub_tag
    assert (family.diffusers is not None) == (family.trainable == "diffusers")
    if family.distilled:
        assert SENTENCE.fullmatch(family.distilled.advice)


def test_no_two_families_have_the_same_names_for_a_loras_metadata():
    versions = [each.names.base_version for each in ARCHITECTURES.values()]
    assert len(versions) == len(set(versions))


@pytest.mark.parametrize("family", EVERY)
def test_the_files_it_needs_can_be_told_by_their_content(family):
    options = [each.option for each in family.model_files]
    assert len(options) == len(set(options))
    for each in family.model_files:
        assert each.known_by or not each.required or family.untried, each.title


@pytest.mark.parametrize("family", EVERY)
def test_an_engine_trains_it_or_every_engine_says_why_not(family):
    said = {name: engine.cannot_train(family, {}) for name, engine in load_engines().items()}
    assert set(said) == set(ENGINES)
    assert all(SENTENCE.fullmatch(words) for words in said.values() if words)
    if family.trainable is None:
        assert SENTENCE.fullmatch(family.not_trainable)
    if "" not in said.values():
        with pytest.raises(InvalidInput) as caught:
            choose_engine(TrainingRequest(dataset="dots", base_model="x"), family.name, load_engines())
        assert family.title in caught.value.problem and all(
            words in caught.value.problem for words in said.values()
        )


@pytest.mark.parametrize("family", EVERY)
def test_auto_takes_the_first_engine_that_trains_it_and_says_why(family):
    trains = [name for name, engine in load_engines().items() if not engine.cannot_train(family, {})]
    if not trains:
        pytest.skip("no engine trains it: see the test above")
    try:
        choice = choose_engine(TrainingRequest(dataset="dots", base_model="x"), family.name, load_engines())
    except Unavailable as error:
        assert "kohya" in f"{error.problem} {error.fix}"  # the only one that may be missing here
        assert trains[0] == "kohya" and family.not_trainable in error.problem
    else:
        assert choice.name == trains[0] and SENTENCE.fullmatch(choice.reason)


def grid_of(family, engine):
    """A usual grid for a diffusion model with all of its files named, whether the engine keeps them as options or as files."""
    if engine == "native":
        plan = plan_of(family, **names_of(family))
    else:
        plan = plan_of(family, engine=engine, kohya=names_of(family))
    return usual_grid(plan, whole=False, opener={"class_type": "Open", "inputs": {}}, grid="Grid").prompt


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", EVERY)
def test_its_grid_is_drawn_with_its_own_loaders_or_the_answer_is_what_to_connect(family, engine):
    if family.untried:
        with pytest.raises(InvalidInput, match="Connect a LoRA Validate Grid"):
            grid_of(family, engine)
        return
    prompt, how = grid_of(family, engine), family.drawing
    grid = prompt["grid"]["inputs"]
    assert (grid["steps"], grid["cfg"], grid["sampler"], grid["scheduler"]) == (
        how.steps,
        how.cfg,
        how.sampler,
        how.scheduler,
    )
    if how.text is None:
        assert prompt["base"]["class_type"] == "CheckpointLoaderSimple"
    else:
        assert "base.safetensors" in prompt["base"]["inputs"].values()
        assert prompt["text"]["class_type"] == how.text.node
        named = [value for key, value in prompt["text"]["inputs"].items() if key.startswith("clip_name")]
        assert named == [f"{option}.safetensors" for option in how.text.files]
        if how.vae:
            assert prompt["base"]["class_type"] == "UNETLoader"
            assert prompt["vae"]["inputs"]["vae_name"] == f"{how.vae}.safetensors"
        else:
            assert prompt["base"]["class_type"] == "CheckpointLoaderSimple" and grid["vae"] == ["base", 2]
    assert all(each[0] in prompt for each in grid.values() if isinstance(each, list))


@pytest.mark.parametrize("family", EVERY)
def test_a_whole_checkpoint_is_drawn_with_its_own_loader(family):
    prompt = usual_grid(
        plan_of(family), whole=True, opener={"class_type": "Open", "inputs": {}}, grid="Grid"
    ).prompt
    assert prompt["base"]["class_type"] == "CheckpointLoaderSimple"
    assert "shift" not in prompt


@pytest.mark.parametrize(
    ("files", "node", "kind"),
    [
        ((), None, None),
        (("t5xxl",), "CLIPLoader", "sd3"),
        (("clip_l", "clip_g"), "DualCLIPLoader", "sd3"),
        (("clip_l", "clip_g", "t5xxl"), "TripleCLIPLoader", None),
    ],
)
def test_a_checkpoint_is_drawn_with_as_many_text_encoders_beside_it_as_were_named(files, node, kind):
    plan = plan_of(architecture("sd3"), **{option: f"{option}.safetensors" for option in files})
    prompt = usual_grid(plan, whole=False, opener={"class_type": "Open", "inputs": {}}, grid="Grid").prompt
    assert prompt["base"]["class_type"] == "CheckpointLoaderSimple"
    text = prompt.get("text", {})
    assert (text.get("class_type"), text.get("inputs", {}).get("type")) == (node, kind)
    assert prompt["grid"]["inputs"]["clip"] == (["text", 0] if node else ["base", 1])


def test_a_grid_whose_files_nobody_named_is_refused_with_what_is_missing():
    with pytest.raises(InvalidInput) as caught:
        usual_grid(plan_of(architecture("zimage"), ae="ae.safetensors"), whole=False, opener={}, grid="Grid")
    assert "its text_encoder" in caught.value.problem


RELEASE = check_release(
    DatasetMetadata(licence="CC0-1.0", source="drawn here", release_approved=True, rating="sfw"),
    dataset="dots",
)


@pytest.fixture
def lora(tmp_path):
    names = {
        "lora_unet_x.lora_down.weight": (4, 8),
        "lora_unet_x.lora_up.weight": (8, 4),
        "lora_unet_x.alpha": (),
    }
    return golden.write(tmp_path / "lora.safetensors", names)


@pytest.mark.parametrize("family", EVERY)
def test_a_packaged_lora_says_what_it_was_trained_for(family, lora):
    plan = plan_of(family)
    values = {each.name: None for each in fields(PackageFacts)}
    values |= {
        "plan": plan,
        "run_id": plan.run_id,
        "family": family,
        "step": 800,
        "checkpoint_sha256": "c" * 64,
    }
    values |= {"header": read_header(lora), "made": datetime(2026, 1, 1, tzinfo=timezone.utc), "cells": ()}
    values |= {
        "author": "me",
        "title": "Alice",
        "trigger": "char_alice",
        "strength": NOT_MEASURED,
        "environment": {},
    }
    values |= {"release": RELEASE, "hub_base_model": ""}
    facts = PackageFacts(**values)
    table, _ = packaged_metadata(facts, tensor_sha256="a" * 64)
    assert table["modelspec.architecture"] == family.names.modelspec
    assert table["modelspec.implementation"] == family.names.implementation
    assert ("modelspec.prediction_type" in table) == (not family.flow)
    assert ("modelspec.encoder_layer" in table) == family.captions.clip_skip
    assert a1111_sidecar(facts)["sd version"] == family.names.a1111
