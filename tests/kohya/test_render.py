"""Rendering: golden files for each family, and rules that hold for all of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import tomllib

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.engines.kohya.render import Places, render_dataset, render_options, to_toml
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingRequest, make_plan
from kohya_bridge.presets import PRESETS

GOLDEN = Path(__file__).parent / "golden"


TRAINED = [each.name for each in ARCHITECTURES.values() if each.kohya]


def plan_for(family, *, preset="standard", kohya=None, **settings):
    return make_plan(
        TrainingRequest(
            dataset="char_wren",
            base_model="base.safetensors",
            preset=preset,
            settings={"mixed_precision": "bf16", **settings},
            kohya=kohya or {},
        ),
        dataset=DatasetFacts(slug="char_wren", digest="a" * 64, images=24, trigger="char_wren"),
        base_model=BaseModelFacts(name="base.safetensors", sha256="b" * 64, family=family),
        engine="kohya",
        engine_version="c" * 40,
    )


def places_for(family):
    models = {
        each.option: Path(f"/models/{each.folder}/{each.option}.safetensors")
        for each in ARCHITECTURES[family].model_files
    }
    needed = {each.option for each in ARCHITECTURES[family].model_files if each.required}
    return Places(
        base_model=Path("/models/checkpoints/base.safetensors"),
        staging=Path("/runs/char_wren/0123456789ab/staging"),
        tokenizers=Path("/cache/kohya/tokenizers"),
        models={option: path for option, path in models.items() if option in needed},
    )


def rendered(family, **options):
    plan, places = plan_for(family, **options), places_for(family)
    return (
        f"# config.toml\n{to_toml(render_options(plan, places))}\n"
        f"# dataset.toml\n{to_toml(render_dataset(plan, places, held_out=2))}"
    )


@pytest.mark.parametrize("family", TRAINED)
@pytest.mark.parametrize("preset", ["standard", "low_memory"])
def test_the_rendering_is_the_golden_one(family, preset):
    """UPDATE_GOLDEN=1 writes them anew; the difference is then reviewed."""
    file = GOLDEN / f"{family}_{preset}.toml.txt"
    text = rendered(family, preset=preset)
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text("utf-8")


@pytest.mark.parametrize("family", TRAINED)
@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_rendered_is_toml_that_reads_back_as_the_same_values(family, preset):
    plan, places = plan_for(family, preset=preset), places_for(family)
    for table in (render_options(plan, places), render_dataset(plan, places, held_out=2)):
        assert tomllib.loads(to_toml(table)) == table


def test_odd_names_survive_the_way_through_toml():
    table = {
        "a": 'quote " and \\ and ünïcode',
        "b": ["x=1", "y='z'"],
        "c": 1e-7,
        "d": True,
        "t": {"e": ["\n"]},
    }
    assert tomllib.loads(to_toml(table)) == table


@pytest.mark.parametrize(
    ("settings", "option", "value"),
    [
        ({"lr_scheduler": "constant"}, "lr_warmup_steps", None),
        ({"lr_warmup_steps": 100}, "lr_warmup_steps", 100),
        ({"lr_warmup_steps": 0.1}, "lr_warmup_steps", 0.1),
        ({"min_snr_gamma": 0.0}, "min_snr_gamma", None),
        ({"conv_dim": 4, "conv_alpha": 2.0}, "network_args", ["conv_dim=4", "conv_alpha=2.0"]),
        ({"optimizer_args": {"betas": [0.9, 0.99]}}, "optimizer_args", ["betas=[0.9, 0.99]"]),
        ({"prediction_type": "v_prediction"}, "v_parameterization", True),
        ({"max_token_length": 225}, "max_token_length", 225),
        ({"max_token_length": 75}, "max_token_length", None),
        ({"clip_skip": 2}, "clip_skip", 2),
        ({"cache_latents": False}, "max_data_loader_n_workers", 2),
        ({"attention": "xformers"}, "xformers", True),
        ({"save_every_n_steps": 0}, "save_every_n_steps", None),
        ({"max_grad_norm": 0.0}, "max_grad_norm", 0.0),
    ],
)
def test_a_setting_is_rendered_as_sd_scripts_means_it(settings, option, value):
    assert render_options(plan_for("sd15", **settings), places_for("sd15")).get(option) == value


def test_adafactor_keeps_to_the_plans_rate_unless_the_plan_says_otherwise():
    options = render_options(plan_for("sd15", optimizer_type="Adafactor"), places_for("sd15"))
    assert "relative_step=False" in options["optimizer_args"]
    own = plan_for("sd15", optimizer_type="Adafactor", optimizer_args={"relative_step": True})
    assert "relative_step=True" in render_options(own, places_for("sd15"))["optimizer_args"]


def test_both_text_encoders_of_sdxl_get_their_rate():
    plan = plan_for("sdxl", network_train_unet_only=False, cache_text_encoder_outputs=False)
    assert render_options(plan, places_for("sdxl"))["text_encoder_lr"] == [5e-5, 5e-5]


def test_the_kohya_section_adds_options_and_joins_network_args():
    plan = plan_for("sd15", conv_dim=4, kohya={"loss_type": "huber", "network_args": ["rank_dropout=0.1"]})
    options = render_options(plan, places_for("sd15"))
    assert options["loss_type"] == "huber"
    assert options["network_args"] == ["conv_dim=4", "conv_alpha=1.0", "rank_dropout=0.1"]


def test_held_out_pictures_are_datasets_of_their_own_that_leave_nothing_to_training():
    table = render_dataset(plan_for("sd15"), places_for("sd15"), held_out=2)
    assert [each["validation_split"] for each in table["datasets"]] == [0.0, 1.0, 1.0]
    assert [each["batch_size"] for each in table["datasets"]] == [2, 1, 1]
    assert len(render_dataset(plan_for("sd15"), places_for("sd15"), held_out=0)["datasets"]) == 1


def test_a_training_adapter_is_handed_to_sd_scripts_as_its_list_of_base_weights():
    places = replace(places_for("flux1"), models={"base_weights": Path("/models/loras/adapter.safetensors")})
    options = render_options(plan_for("flux1", base_weights="d" * 64, base_weights_multiplier=0.5), places)
    assert options["base_weights"] == ["/models/loras/adapter.safetensors"]
    assert options["base_weights_multiplier"] == [0.5]
    assert "base_weights" not in render_options(plan_for("flux1"), places_for("flux1"))
