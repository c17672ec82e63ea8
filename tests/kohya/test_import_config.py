"""Foreign configurations as requests: what is carried, what is translated, and why the rest stays behind."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from kohya_bridge.device.description import Device
from kohya_bridge.device.precision import usual
from kohya_bridge.engines.kohya.importing import import_config
from kohya_bridge.errors import InvalidInput, NotFound
from kohya_bridge.plan import make_settings

GUI_PRESET = {
    "LoRA_type": "Kohya LoCon",
    "additional_parameters": "--multires_noise_iterations 6 --log_prefix=night",
    "bucket_no_upscale": True,
    "caption_extension": ".txt",
    "clip_skip": 2,
    "conv_alpha": 8,
    "conv_dim": 16,
    "epoch": 10,
    "keep_tokens": "1",
    "learning_rate": 0.0001,
    "loss_type": "huber",
    "lr_scheduler": "cosine",
    "lr_warmup": 5,
    "max_resolution": "512,512",
    "max_train_epochs": "",
    "min_snr_gamma": 5,
    "network_alpha": 16,
    "network_dim": 32,
    "optimizer": "AdamW8bit",
    "optimizer_args": "weight_decay=0.01 betas=0.9,0.99",
    "pretrained_model_name_or_path": "C:\\models\\anything-v5.safetensors",
    "sdxl": False,
    "shuffle_caption": True,
    "text_encoder_lr": 5e-05,
    "train_batch_size": 2,
    "train_data_dir": "C:/data/img",
    "vae": "C:/vae/x.safetensors",
    "wandb_api_key": "a-secret-key",
    "xformers": "xformers",
}
TOML_PRESET = """
[model]
pretrained_model_name_or_path = "/models/sdxl.safetensors"
v_parameterization = true
[train]
network_module = "lycoris.kohya"
network_args = ["algo=lokr", "preset=attn-mlp"]
optimizer_type = "prodigyplus.ProdigyPlusScheduleFree"
optimizer_args = ["decouple=True"]
lr_scheduler = "cosine_with_min_lr"
learning_rate = 1.0
network_train_unet_only = true
max_train_steps = 2000
resolution = "1024,768"
mem_eff_attn = true
logging_dir = "/logs"
"""


def write(folder, name, text):
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def why(found, name):
    return next(each.why for each in found.left if each.name == name)


def test_a_gui_preset_becomes_settings_with_its_own_units_translated(tmp_path):
    found = import_config(write(tmp_path, "a.json", json.dumps(GUI_PRESET)), dataset="alice", images=30)
    settings = found.request.settings
    assert settings["lr_warmup_steps"] == 0.05  # the GUI counts in percent
    assert settings["max_train_steps"] == 150  # 10 epochs of 30 pictures in batches of 2
    assert (settings["conv_dim"], settings["conv_alpha"]) == (16, 8)
    assert settings["optimizer_args"] == {"weight_decay": 0.01, "betas": [0.9, 0.99]}
    assert settings["network_train_unet_only"] is False and settings["text_encoder_lr"] == 5e-5
    assert settings["attention"] == "xformers" and settings["resolution"] == 512
    assert found.request.kohya == {"loss_type": "huber", "multires_noise_iterations": 6}
    assert found.request.base_model == "anything-v5.safetensors"


def test_an_imported_request_gives_valid_settings(tmp_path):
    found = import_config(write(tmp_path, "a.json", json.dumps(GUI_PRESET)), dataset="alice", images=30)
    assert make_settings(found.request, "sd15", images=30).network_dim == 32


def test_paths_secrets_and_places_stay_behind_with_a_reason_and_no_secret_is_shown(tmp_path):
    found = import_config(write(tmp_path, "a.json", json.dumps(GUI_PRESET)), dataset="alice", images=30)
    assert "names a file" in why(found, "vae")
    assert "secret" in why(found, "wandb_api_key")
    assert "a-secret-key" not in json.dumps(found.to_json())
    assert "dataset" in why(found, "train_data_dir")


AVX2 = Device("cpu", "EPYC", "avx2")
AMPERE = Device("cuda", "RTX 3060", "8.6")
TURING = Device("cuda", "RTX 2080", "7.5")


@pytest.mark.parametrize(
    ("named", "device", "kept"),
    [
        ("bf16", AMPERE, "bf16"),
        ("fp16", AMPERE, "fp16"),
        ("fp16", TURING, "fp16"),
        ("no", AVX2, "no"),
        ("bf16", None, "bf16"),
        ("bf16", AVX2, "auto"),
        ("fp16", AVX2, "auto"),
        ("bf16", TURING, "auto"),
        (None, AMPERE, "auto"),
    ],
)
def test_a_number_format_is_kept_where_the_device_has_it_and_else_left_to_the_device(
    tmp_path, named, device, kept
):
    preset = {**GUI_PRESET, **({"mixed_precision": named} if named else {})}
    file = write(tmp_path, "a.json", json.dumps(preset))
    found = import_config(file, dataset="alice", images=30, device=device)
    assert make_settings(found.request, "sd15", images=30).mixed_precision == kept
    told = [note for note in found.notes if "mixed_precision" in note]
    assert len(told) == (0 if named == "no" or device is None else 1)
    if kept == "auto" and named:
        assert f"{named} became auto, which is {usual(device).name}: " in told[0]


def test_a_toml_preset_is_flattened_and_what_only_sd_scripts_knows_goes_to_the_kohya_section(tmp_path):
    found = import_config(
        write(tmp_path, "a.toml", TOML_PRESET), dataset="alice", base_model="xl.safetensors"
    )
    assert found.request.base_model == "xl.safetensors"
    assert found.request.settings["prediction_type"] == "v_prediction"
    assert found.request.settings["attention"] == "sdpa"
    assert found.request.settings["resolution"] == 896
    assert found.request.kohya == {
        "network_module": "lycoris.kohya",
        "network_args": ["algo=lokr", "preset=attn-mlp"],
        "optimizer_type": "prodigyplus.ProdigyPlusScheduleFree",
        "lr_scheduler": "cosine_with_min_lr",
    }
    assert any(row.ours == 896 and "same area" in row.why for row in found.rows)


def test_epochs_without_a_picture_count_are_left_with_the_reason(tmp_path):
    found = import_config(write(tmp_path, "a.json", json.dumps(GUI_PRESET)), dataset="alice")
    assert "number of pictures" in why(found, "max_train_epochs")
    assert "max_train_steps" not in found.request.settings


def test_a_value_that_no_setting_takes_is_left_and_the_rest_is_carried(tmp_path):
    preset = {**GUI_PRESET, "network_dim": 100000, "mixed_precision": "fp64", "keep_tokens": 700}
    found = import_config(write(tmp_path, "a.json", json.dumps(preset)), dataset="alice", images=30)
    assert "keep_tokens" in {each.name for each in found.left} and found.request.settings["keep_tokens"] == 0
    assert found.request.settings["network_dim"] == 512
    assert found.request.settings["mixed_precision"] == "auto"
    assert found.request.settings["network_alpha"] == 16 * 512 / 100000


ODD = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20),
    lambda deeper: (
        some.lists(deeper, max_size=3) | some.dictionaries(some.text(max_size=5), deeper, max_size=2)
    ),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=some.sampled_from(sorted(GUI_PRESET)), value=ODD)
@example(name="learning_rate", value=["a"])
@example(name="optimizer_args", value='weight_decay="0.1')
@example(name="lr_warmup", value="many")
@example(name="max_resolution", value={"a": 1})
@example(name="additional_parameters", value="--a 'b")
@example(name="train_batch_size", value=[2])
def test_whatever_a_preset_says_it_is_carried_left_or_refused_in_words(tmp_path, name, value):
    file = tmp_path / "x.json"
    file.write_text(json.dumps({**GUI_PRESET, name: value}))
    try:
        imported = import_config(file, dataset="alice", images=9)
    except InvalidInput as error:
        assert error.problem and error.fix
    else:
        assert make_settings(imported.request, "sd15", images=9)


def test_a_rate_that_is_no_number_is_left_and_the_rest_is_carried(tmp_path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps({**GUI_PRESET, "learning_rate": "/etc/passwd", "train_batch_size": [2]}))
    imported = import_config(file, dataset="alice", images=9)
    assert {"learning_rate", "train_batch_size"} <= {each.name for each in imported.left}
    assert imported.request.settings["network_dim"] == 32


@pytest.mark.torch
def test_a_lora_is_trained_like_again(bench, tmp_path):
    ended = bench.train(bench.plan(max_train_steps=2, unet_lr=3e-4, validation_split=0.0))
    lora = ended.run.dir / ended.of("checkpoint")[-1]["file"]
    found = import_config(lora, dataset="alice", base_model="base.safetensors")
    assert found.request.family == "sd15"
    assert found.request.settings["network_dim"] == 4 and found.request.settings["max_train_steps"] == 2
    assert found.request.settings["network_train_unet_only"] is True
    assert found.request.kohya == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "[1, 2]"), ("a.json", "{"), ("a.toml", "x = "), ("a.txt", "x"), ("a.json", "\xff" * 10)],
)
def test_a_file_that_is_no_preset_is_refused(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput):
        import_config(tmp_path / name, dataset="alice", base_model="x")


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        import_config(tmp_path / "none.json", dataset="alice")


def test_the_shell_writes_the_config_and_the_report(tmp_path, capsys):
    from kohya_bridge.__main__ import main

    file = write(tmp_path, "a.json", json.dumps(GUI_PRESET))
    assert main(["adopt", str(file), "--dataset", "alice", "--workspace", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "field\ttheirs\tours\twhy" in said and "lr_warmup_steps" not in said and "vae" in said
    assert "seed\trandom\t42\tHere the same seed is the same training." in said
    assert (tmp_path / "kohya" / "configs" / "alice.yaml").is_file()
    assert main(["adopt", str(file), "--dataset", "alice", "--workspace", str(tmp_path)]) == 7
