"""Every field of kohya_ss' GUI and every option of sd-scripts has a known fate, and the training is the one that the origin would give.

`fixtures/gui_fields.json` has the name, kind, default and range of each field of the GUI's LoRA tab (kohya_ss 45088f04, Apache-2.0); the
options of sd-scripts are those that its own parsers tell.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.engines.kohya.importing import import_config
from kohya_bridge.engines.kohya.importing.carrying import OF_THE_CARD, carry
from kohya_bridge.engines.kohya.importing.gui import FLAGS, KINDS, TYPES_OF_FAMILIES, from_gui
from kohya_bridge.engines.kohya.importing.origin import _recorded, options_of, script_of, scripts_with
from kohya_bridge.engines.kohya.options import RECORD, record
from kohya_bridge.engines.native.engine import _plan_problems
from kohya_bridge.errors import InvalidInput
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, make_plan, make_settings
from kohya_bridge.settings import TrainingSettings
from tests.kohya_bench import find_checkout_or_skip

FIELDS = json.loads((Path(__file__).parents[1] / "fixtures" / "gui_fields.json").read_text("utf-8"))
SMALLEST = {
    "LoRA_type": "Standard", "pretrained_model_name_or_path": "m.safetensors", "network_dim": 8, "factor": -1, "unit": 1,
    "noise_offset_type": "Original", "sdxl_no_half_vae": True, "train_on_input": True,
}  # fmt: skip
CONSULTED = {"LoRA_type", "model_type", "additional_parameters", *FLAGS}


def brought(tmp_path, fields, *, name="a.json", images=30):
    file = tmp_path / name
    if name.endswith(".json"):
        file.write_text(json.dumps(fields), "utf-8")
    else:
        file.write_text(fields, "utf-8")
    return import_config(file, dataset="alice", base_model="m.safetensors", images=images)


def planned(found, family="sd15"):
    """The plan that the request gives, of the native engine."""
    settings = {**found.request.settings, "mixed_precision": "no"}
    return make_plan(
        found.request.model_copy(update={"settings": settings}),
        dataset=DatasetFacts(slug="alice", digest="d" * 64, images=30),
        base_model=BaseModelFacts(name="m.safetensors", sha256="b" * 64, family=family),
        engine="native",
        engine_version="1",
    )


def fates(found):
    return {row.name: row for row in found.rows}


def test_the_smallest_preset_with_idle_fields_is_a_plan_that_the_native_engine_trains(tmp_path):
    found = brought(tmp_path, SMALLEST)
    assert found.request.kohya == {}
    for name in ("factor", "unit", "noise_offset_type", "sdxl_no_half_vae", "train_on_input"):
        assert fates(found)[name].fate == "left" and fates(found)[name].why, name
    assert planned(found).settings.network_dim == 8


def test_what_a_toml_leaves_out_is_what_sd_scripts_does_then(tmp_path):
    found = brought(tmp_path, "network_dim = 32", name="a.toml")
    settings = make_settings(found.request, "sd15", images=30)
    assert settings.network_dim == 32 and settings.network_alpha == 1.0
    assert settings.network_train_unet_only is False and settings.text_encoder_lr == settings.unet_lr == 2e-6
    assert settings.lr_scheduler == "constant" and settings.lr_warmup_steps == 0
    assert settings.train_batch_size == 1 and settings.max_train_steps == 1600
    assert settings.min_snr_gamma == 0 and settings.keep_tokens == 0 and settings.save_precision == "float"
    assert settings.enable_bucket is False and settings.cache_text_encoder_outputs is False
    told = fates(found)
    assert told["network_alpha"].fate == "default" and told["network_alpha"].theirs == 1.0
    same = [
        row
        for row in found.named("default")
        if row.ours == getattr(TrainingSettings(), row.name) != row.theirs
    ]
    assert {row.name for row in same} == {"seed", "validation_split"}, (
        "where ours is another than theirs, that is told"
    )
    assert not [
        row.name
        for row in found.named("default")
        if row.ours == row.theirs == getattr(TrainingSettings(), row.name)
    ]
    assert told["seed"].theirs == "random" and told["validation_split"].ours == 0.1
    assert "left behind" in found.headline() and "network_alpha" in str(found.table())


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"network_alpha": 0, "network_dim": 16}, {"network_alpha": 16.0}),
        ({"max_timestep": 0}, {"max_timestep": 1000}),
        ({"clip_skip": 0}, {"clip_skip": 1}),
        ({"min_snr_gamma": 0}, {"min_snr_gamma": 0.0}),
        ({"seed": 0}, {"seed": 42}),
        ({"text_encoder_lr": 0, "unet_lr": 1e-4}, {"network_train_unet_only": True, "unet_lr": 1e-4}),
        ({"text_encoder_lr": 0, "unet_lr": 0, "learning_rate": 3e-4}, {"network_train_unet_only": False, "unet_lr": 3e-4, "text_encoder_lr": 3e-4}),
        ({"unet_lr": 0, "learning_rate": 2e-4, "text_encoder_lr": 1e-5}, {"unet_lr": 2e-4, "text_encoder_lr": 1e-5}),
        ({"lr_warmup": 5, "lr_warmup_steps": 0}, {"lr_warmup_steps": 0.05}),
        ({"lr_warmup": 5, "lr_warmup_steps": 120}, {"lr_warmup_steps": 120.0}),
        ({"lr_warmup": 10, "lr_scheduler": "constant"}, {"lr_warmup_steps": 0.0}),
        ({"max_train_epochs": 4, "max_train_steps": 99, "train_batch_size": 4}, {"max_train_steps": 32}),
        ({"max_train_epochs": 0, "max_train_steps": 99, "epoch": 3}, {"max_train_steps": 99}),
        ({"max_train_epochs": 0, "max_train_steps": 0, "epoch": 3, "train_batch_size": 4}, {"max_train_steps": 23}),
        ({"noise_offset_type": "Multires", "noise_offset": 0.1, "multires_noise_iterations": 0}, {"noise_offset": 0.0}),
        ({"noise_offset_type": "Original", "noise_offset": 0.05}, {"noise_offset": 0.05}),
        ({"LoRA_type": "Kohya LoCon", "conv_dim": 8, "conv_alpha": 0}, {"conv_dim": 8, "conv_alpha": 8.0}),
        ({"LoRA_type": "Standard", "conv_dim": 8, "conv_alpha": 4}, {}),
        ({"max_resolution": "512x512"}, {"resolution": 512}),
        ({"max_resolution": ""}, {"resolution": 512}),
        ({"max_resolution": "768,512"}, {"resolution": 640}),
        ({"optimizer": "Adafactor", "lr_scheduler": "adafactor", "optimizer_args": "relative_step=True warmup_init=True"},
         {"lr_scheduler": "constant", "optimizer_args": {"relative_step": False, "warmup_init": False}}),
        ({"optimizer_args": '"weight_decay=0.1" "betas=0.9,0.99"'}, {"optimizer_args": {"weight_decay": 0.1, "betas": [0.9, 0.99]}}),
        ({"optimizer_args": 'weight_decay="0.1'}, {"optimizer_args": {"weight_decay": 0.1}}),
        ({"train_batch_size": "auto"}, {"train_batch_size": 1}),
        ({"sdxl": True, "sdxl_cache_text_encoder_outputs": True, "text_encoder_lr": 1e-5}, {"network_train_unet_only": True, "cache_text_encoder_outputs": True}),
        ({"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": "", "epoch": 4}, {"lr_scheduler_num_cycles": 4}),
        ({"mixed_precision": "fp8"}, {"mixed_precision": "auto"}),
    ],
)  # fmt: skip
def test_every_value_of_the_gui_keeps_its_meaning(tmp_path, fields, wanted):
    found = brought(tmp_path, {"LoRA_type": "Standard", **fields})
    held = {name: found.request.settings.get(name, getattr(TrainingSettings(), name)) for name in wanted}
    assert held == wanted
    if fields.get("LoRA_type") == "Standard":
        assert "conv_dim" not in found.request.settings
    assert make_settings(found.request, "sdxl" if fields.get("sdxl") else "sd15", images=30)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('optimizer_args = "weight_decay=0.1"', {"optimizer_args": {"weight_decay": 0.1}}),
        ('text_encoder_lr = "[5e-05]"', {"text_encoder_lr": 5e-5, "network_train_unet_only": False}),
        ("text_encoder_lr = [5e-05, 1e-5]", {"text_encoder_lr": 5e-5}),
        ("learning_rate = 3e-4", {"unet_lr": 3e-4, "text_encoder_lr": 3e-4}),
        ("unet_lr = 3e-4\nlearning_rate = 1e-4", {"unet_lr": 3e-4, "text_encoder_lr": 1e-4}),
        ("max_train_epochs = 2\nmax_train_steps = 7", {"max_train_steps": 60}),
        ('resolution = "512"', {"resolution": 512}),
        ("dataset_repeats = 5", {"num_repeats": 5}),
        ("use_8bit_adam = true", {"optimizer_type": "AdamW8bit"}),
        ("seed = 0", {"seed": 0}),
        ("network_args = ['conv_dim=4']\nnetwork_dim = 8", {"conv_dim": 4, "conv_alpha": 1.0}),
    ],
)
def test_every_value_of_an_sd_scripts_config_keeps_its_meaning(tmp_path, text, wanted):
    found = brought(tmp_path, text, name="a.toml")
    assert {name: found.request.settings[name] for name in wanted} == wanted


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].module == "lycoris.kohya"])
def test_a_lycoris_preset_keeps_the_arguments_of_its_kind(tmp_path, kind):
    numbers = {
        "conv_dim": 4,
        "conv_alpha": 2,
        "factor": 6,
        "use_cp": True,
        "dora_wd": True,
        "unit": 4,
        "train_norm": True,
        "rank_dropout": 0.1,
    }
    found = brought(tmp_path, {"LoRA_type": kind, "network_dim": 16, **numbers})
    arguments = found.request.kohya["network_args"]
    assert found.request.kohya["network_module"] == "lycoris.kohya"
    assert f"algo={KINDS[kind].algorithm}" in arguments
    for name, value in numbers.items():
        word = "block_size" if name == "unit" else name
        assert (f"{word}={value}" in arguments) == (name in KINDS[kind].arguments), name
    assert "conv_dim" not in found.request.settings


def test_a_rank_above_every_matrix_and_words_that_are_no_arguments_are_told(tmp_path):
    found = brought(
        tmp_path,
        {
            "LoRA_type": "LyCORIS/LoKr",
            "network_dim": 100000,
            "network_alpha": 0,
            "optimizer_args": "fast weight_decay=0.1",
        },
    )
    assert found.request.settings["network_dim"] == found.request.settings["network_alpha"] == 512
    assert "full_matrix=True" in found.request.kohya["network_args"]
    assert found.request.settings["optimizer_args"] == {"weight_decay": 0.1}
    assert [row.theirs for row in found.left if row.name == "optimizer_args"] == ["fast"]


def other_value(name, rng):
    field = FIELDS[name]
    if field["kind"] == "flag":
        return not field["default"]
    if field["kind"] == "choice":
        return rng.choice([each for each in field["choices"] if each not in ("", field["default"])])
    if field["kind"] == "number":
        least, most = field.get("least", 0), min(field.get("most", 1000), 1000)
        whole = field.get("step", 1) == 1 and field["default"] == int(field["default"])
        low = max(least, 0)
        return rng.randint(int(low), int(most)) if whole and most > 1 else round(rng.uniform(low, most), 4)
    return {"max_resolution": "768,768", "optimizer_args": "weight_decay=0.05"}.get(name, "words")


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_of_the_gui_is_carried_mapped_or_left_with_a_reason(tmp_path, name):
    value = other_value(name, random.Random(name))
    found = from_gui(
        {"LoRA_type": "Standard", name: value} | ({"LoRA_type": value} if name == "LoRA_type" else {})
    )
    told = {field for field, _, _ in found.left}
    mapped = set(found.options) - {"network_train_unet_only", "family"}
    assert name in told or mapped or name in CONSULTED or name in ("text_encoder_lr", "xformers", "t5xxl_lr")
    assert all(why.endswith(".") and "{" not in why for _, _, why in found.left)
    imported = brought(
        tmp_path, {"LoRA_type": "Standard", "pretrained_model_name_or_path": "m.safetensors", name: value}
    )
    for option in imported.request.kohya:
        assert option in options_of("train_network") or imported.request.family != "auto", option


@pytest.mark.parametrize("family", [name for name, each in ARCHITECTURES.items() if each.kohya])
def test_nothing_is_carried_that_its_script_does_not_have(family):
    script = script_of(family)
    every = {option for known in _recorded().values() if isinstance(known, dict) for option in known}
    for option in sorted(every):
        value = {"loss_type": "huber", "network_module": "lycoris.kohya"}.get(option, 3)
        found = carry({"family": family, option: value}, dataset="alice", base_model="m.safetensors")
        extra = {"network_train_text_encoder_only"} if option == "unet_lr" else set()
        assert set(found.request.kohya) - extra <= set(options_of(script)), option
        assert option in {row.name for row in found.rows} or found.request.settings or found.request.kohya
    unknown = carry(
        {"family": family, "not_an_option": 3, "network_dim": 4}, dataset="alice", base_model="m.safetensors"
    )
    assert [row.why for row in unknown.left if row.name == "not_an_option"] == [
        "sd-scripts has no option of that name."
    ]


NATIVE_KINDS = ("Standard", "Kohya LoCon")
NATIVE_OPTIMISERS = ("AdamW", "AdamW8bit", "Adafactor", "Lion", "Prodigy", "AdamWScheduleFree")
NATIVE_FAMILIES = ("", "sdxl")


def generated(rng):
    """A preset as the GUI writes it: every field, most at its default."""
    preset = {name: field["default"] for name, field in FIELDS.items()}
    for name in rng.sample(sorted(FIELDS), rng.choice((0, 1, 3, 8, 25))):
        if name not in FLAGS:
            preset[name] = other_value(name, rng)
    flag = rng.choice(("", "", "sdxl", "sdxl", "flux1_checkbox"))
    preset |= {
        "LoRA_type": rng.choice(("Standard", "Kohya LoCon") * 9 + tuple(KINDS)),
        "pretrained_model_name_or_path": "m.safetensors",
    }
    if flag:
        preset[flag] = True
    if rng.random() < 0.3:
        preset = {
            name: str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
            for name, value in preset.items()
        }
    return preset


def test_five_hundred_generated_presets_train_natively_or_say_which_line_stands_in_the_way(tmp_path):
    native = 0
    for seed in range(500):
        preset = generated(random.Random(seed))
        try:
            found = brought(tmp_path, preset)
        except InvalidInput as error:
            pytest.fail(f"seed {seed}: {error}")
        family = found.request.family if found.request.family != "auto" else "sd15"
        for option in found.request.kohya:
            assert option in options_of(script_of(family)) or option in scripts_with(option), (seed, option)
        assert found.request.kohya == {} or any(name not in OF_THE_CARD for name in found.request.kohya), seed
        settings = make_settings(found.request, family, images=30)
        assert settings.network_dim == float(preset["network_dim"]), seed
        assert settings.train_batch_size == float(preset["train_batch_size"]), seed
        in_the_way = set(found.request.kohya)
        supported = preset["LoRA_type"] in NATIVE_KINDS and preset["optimizer"] in NATIVE_OPTIMISERS
        if family in ("sd15", "sdxl") and not in_the_way:
            problems = [
                each.problem
                for each in native_problems(planned(found, family))
                if "sd-scripts only" in each.problem
            ]
            assert problems == [], (seed, problems)
            native += 1
        elif supported and family in ("sd15", "sdxl"):
            (told,) = [
                each for each in native_problems(planned(found, family)) if "sd-scripts only" in each.problem
            ]
            assert all(name in told.problem for name in in_the_way), seed
    assert native > 140


def native_problems(plan):
    return _plan_problems(plan)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.toml", "[general]\nkeep_tokens = 1\n[[datasets]]\nresolution = 512\n", "dataset config"),
        ("a.json", '{"job": "extension", "config": {"name": "x"}}', "ai-toolkit"),
        ("a.json", '{"training_method": "LORA", "base_model_name": "x"}', "OneTrainer"),
        ("a.json", '{"nodes": [], "links": []}', "workflow of ComfyUI"),
        ("a.json", '{"3": {"class_type": "KSampler", "inputs": {}}}', "prompt of ComfyUI"),
        ("a.json", '{"peft_type": "LORA", "r": 8}', "PEFT"),
        ("a.json", '{"_class_name": "UNet2DConditionModel"}', "diffusers"),
        ("a.json", '{"a.png": {"caption": "x", "tags": "y"}}', "caption list"),
        ("a.json", '{"hello": 1}', "names no option"),
        ("a.toml", 'pretrained_model_name_or_path = "C:\\Users\\me"', "single quotes"),
    ],
)
def test_what_is_no_training_config_is_named(tmp_path, name, content, what):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(InvalidInput) as refused:
        import_config(tmp_path / name, dataset="alice", base_model="x")
    assert what in f"{refused.value.problem} {refused.value.fix}"


def test_every_kind_of_lora_and_flag_of_the_gui_is_known():
    assert set(FIELDS["LoRA_type"]["choices"]) <= set(KINDS)
    assert set(TYPES_OF_FAMILIES.values()) | set(FLAGS.values()) <= set(ARCHITECTURES)


@pytest.mark.sdscripts
def test_the_recorded_options_are_those_of_the_pinned_sd_scripts(tmp_path, monkeypatch):
    checkout, interpreter = find_checkout_or_skip()
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(checkout.dir))
    monkeypatch.setenv("KOHYA_PYTHON", str(interpreter))
    assert record(tmp_path / "now.json") == json.loads(RECORD.read_text("utf-8"))
