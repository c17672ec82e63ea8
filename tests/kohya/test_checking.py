"""What of a plan sd-scripts would not take is found before anything starts."""

from __future__ import annotations

import pytest

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.device.description import Device
from kohya_bridge.engines.kohya import engine as engine_module
from kohya_bridge.engines.kohya.checking import DECIDED_BY, REFUSED, suitable_precision
from kohya_bridge.engines.kohya.checkout import find_interpreter
from kohya_bridge.engines.kohya.engine import KohyaEngine
from kohya_bridge.engines.kohya.packages import needed_modules
from kohya_bridge.settings import TrainingSettings

pytestmark = pytest.mark.torch


def found(bench, *, family="sd15", kohya=None, **settings):
    bench.family = family
    return KohyaEngine().problems(bench.plan(kohya=kohya, **settings), bench.paths)


def blocking(problems):
    return [each for each in problems if each.blocks]


def test_a_plain_plan_has_no_obstacle(bench):
    assert blocking(found(bench)) == []


@pytest.mark.parametrize(
    ("kohya", "code", "words"),
    [
        ({"los_type": "l2"}, "option_unknown", "Did you mean 'loss_type'?"),
        ({"loss_type": "l3"}, "option_value", "must be one of"),
        ({"loss_type": "hubber"}, "option_value", "Did you mean 'huber'?"),
        ({"scale_weight_norms": "0,3"}, "option_value", "Write 0.3: decimals stand behind a point."),
        ({"seed": 3}, "option_decided", "settings.seed"),
        ({"network_dim": 8}, "option_decided", "settings.network_dim"),
        ({"clip_skip": "two"}, "option_decided", "settings.clip_skip"),
        ({"multires_noise_iterations": "six"}, "option_value", "whole number"),
        ({"log_config": 1}, "option_value", "true or false"),
        ({"network_args": "a=1"}, "option_value", "must be a list"),
        ({"output_dir": "/tmp"}, "option_refused", "kohya.output_dir"),
        ({"resume": "/x"}, "option_refused", "resumes from its own newest state"),
        ({"dataset_class": "os.system"}, "option_refused", "loads code"),
        ({"optimizer_type": "subprocess.Popen"}, "option_value", "not a known optimiser"),
        ({"network_module": "os"}, "option_value", "not a network module"),
        ({"num_processes": 0}, "option_value", "number of GPUs"),
        ({"fp8_base": True}, "contradiction", "mixed_precision"),
        ({"full_bf16": True}, "contradiction", "mixed_precision bf16"),
        ({"color_aug": True}, "contradiction", "cache_latents"),
        ({"max_train_epochs": 3}, "option_decided", "settings.max_train_steps"),
    ],
)
def test_an_option_that_will_not_do_is_named_with_what_to_do(bench, kohya, code, words):
    problems = blocking(found(bench, kohya=kohya))
    assert [each.code for each in problems] == [code]
    assert words in f"{problems[0].problem} {problems[0].fix}"


AVX2, AMX = Device("cpu", "EPYC", "avx2"), Device("cpu", "Xeon", "amx_bf16 avx2 avx512_bf16 avx512f")
PASCAL, AMPERE = Device("cuda", "GTX 1080", "6.1"), Device("cuda", "RTX 3060", "8.6")
MAXWELL = Device("cuda", "GTX 980", "5.2")


@pytest.mark.parametrize(
    ("kohya", "family", "device", "name"),
    [
        ({}, "sd15", AVX2, "no"),
        ({}, "sd15", AMX, "bf16"),
        ({}, "sdxl", PASCAL, "fp16"),
        ({"full_bf16": True}, "sdxl", AVX2, "bf16"),
        ({"full_bf16": False}, "sdxl", AVX2, "no"),
        ({"full_fp16": True}, "sdxl", AMPERE, "fp16"),
        ({"fp8_base": True}, "sdxl", AVX2, "bf16"),
        ({"fp8_base": True}, "sdxl", MAXWELL, "fp16"),
        ({}, "hunyuan_image", PASCAL, "bf16"),
    ],
)
def test_auto_is_what_the_device_does_best_unless_an_option_or_the_family_wants_another(
    bench, kohya, family, device, name
):
    chosen = suitable_precision(kohya, ARCHITECTURES[family], device)
    assert chosen.name == name and chosen.reason.startswith(f"{name}: ")
    settings = {"mixed_precision": chosen.name, "resolution": 256}
    assert "contradiction" not in {each.code for each in found(bench, kohya=kohya, **settings)}


def test_the_device_is_that_of_sd_scripts_own_torch(bench, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        engine_module, "find_device", lambda cache, *, interpreter: asked.append(interpreter) or AVX2
    )
    assert KohyaEngine().device(tmp_path) == AVX2
    assert asked == [find_interpreter()]


def test_a_vae_that_overflows_in_fp16_is_told_before_the_start(bench, monkeypatch):
    monkeypatch.setattr(engine_module, "find_device", lambda *_, **__: PASCAL)

    def told(**options):
        return [each.blocks for each in found(bench, resolution=256, **options) if each.code == "half_vae"]

    assert told(family="sdxl", mixed_precision="fp16") == [False]
    assert told(family="sdxl", mixed_precision="fp16", kohya={"no_half_vae": True}) == []
    assert told(family="sdxl", mixed_precision="bf16") == told(family="sd15", mixed_precision="fp16") == []


def test_fp16_on_a_cpu_is_refused_before_the_start(bench, monkeypatch):
    monkeypatch.setattr(engine_module, "find_device", lambda *_, **__: AVX2)
    assert [each.code for each in blocking(found(bench, mixed_precision="fp16"))] == ["precision"]
    slow = [each for each in found(bench, mixed_precision="bf16") if each.code == "precision_slow"]
    assert len(slow) == 1 and not slow[0].blocks and "about 40 times" in slow[0].problem


def test_every_wrong_option_is_told_at_once(bench):
    problems = found(bench, kohya={"los_type": "l2", "output_dir": "/", "loss_type": "l3", "seed": 1})
    assert len(blocking(problems)) == 4


@pytest.mark.parametrize(
    ("family", "settings", "code"),
    [
        ("sd15", {"bucket_reso_steps": 32}, "bucket_step"),
        ("sdxl", {"bucket_reso_steps": 16}, "bucket_step"),
        ("sd15", {"min_bucket_reso": 128}, "bucket_range"),
        ("sd15", {"enable_bucket": False, "cache_latents": False}, "no_bucket_no_cache"),
        ("sdxl", {"cache_text_encoder_outputs": True, "caption_dropout_rate": 0.1}, "cached_dropout"),
    ],
)
def test_settings_that_sd_scripts_refuses_late_are_found_early(bench, family, settings, code):
    assert code in {each.code for each in blocking(found(bench, family=family, **settings))}


def test_what_has_no_effect_is_said_and_does_not_block(bench):
    advice = [each for each in found(bench, cache_text_encoder_outputs=True) if not each.blocks]
    assert any("no cache for Stable Diffusion 1.x" in each.problem for each in advice)


def test_a_missing_model_file_of_a_newer_family_is_asked_for_by_name_and_found_in_comfyuis_folders(bench):
    bench.base_model = bench.root / "models" / "diffusion_models" / "flux.safetensors"
    bench.base_model.parent.mkdir()
    bench.base_model.write_bytes(b"x")
    folder = bench.root / "models" / "text_encoders"
    folder.mkdir()
    (folder / "clip_l.safetensors").write_bytes(b"x")
    problems = [each for each in found(bench, family="flux1") if each.code == "model_file_missing"]
    assert len(problems) == 3 and any("clip_l.safetensors" in each.fix for each in problems)
    bench.family = "flux1"
    chosen = found(bench, family="flux1", kohya={"clip_l": "clip_l.safetensors", "t5xxl": "no.safetensors"})
    missing = [each.problem for each in chosen if each.code == "model_file_missing"]
    assert len(missing) == 2 and any("'no.safetensors' is not in text_encoders" in each for each in missing)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd"])
def test_a_model_file_name_that_leads_out_of_its_folder_is_not_found(bench, name):
    problems = found(bench, family="flux1", kohya={"clip_l": name, "t5xxl": name, "ae": name})
    assert len([each for each in problems if each.code == "model_file_missing"]) == 3


def test_a_plan_for_another_commit_is_refused(bench):
    plan = bench.plan().model_copy(update={"engine_version": "d" * 40})
    assert "other_commit" in {each.code for each in KohyaEngine().problems(plan, bench.paths)}


def test_without_a_checkout_the_engine_says_how_to_get_one(bench, monkeypatch, tmp_path):
    plan = bench.plan()
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(tmp_path))
    (problem,) = KohyaEngine().problems(plan, bench.paths)
    assert problem.code == "kohya_not_set_up" and "train_network.py" in problem.problem


def test_an_interpreter_that_cannot_load_sd_scripts_is_told_with_pythons_own_last_line(
    bench, monkeypatch, tmp_path
):
    plan = bench.plan()
    bench.cache_dir = tmp_path / "cache"
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'library'\" >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("KOHYA_PYTHON", str(broken))
    (problem,) = KohyaEngine().problems(plan, bench.paths)
    assert problem.code == "kohya_broken" and "No module named 'library'" in problem.problem


def test_every_setting_is_rendered_or_decided_and_none_is_refused():
    assert set(TrainingSettings.model_fields) <= set(DECIDED_BY)
    assert not set(TrainingSettings.model_fields) & set(REFUSED)


def test_several_gpus_are_launched_through_accelerate(bench):
    plan = bench.plan(kohya={"num_processes": 2})
    assert blocking(KohyaEngine().problems(plan, bench.paths)) == []
    command = KohyaEngine().command(bench.run_folder(plan), plan, bench.paths, resume=None)
    assert command.argv[1:3] == ("-m", "accelerate.commands.launch") and "--num_processes" in command.argv
    assert "num_processes" not in (bench.run_folder(plan).staging_dir / "config.toml").read_text("utf-8")


@pytest.mark.parametrize("optimiser", ["DAdaptAdam", "prodigyplus.ProdigyPlusScheduleFree"])
def test_an_optimiser_that_the_setting_has_no_word_for_may_be_named(bench, optimiser):
    codes = {each.code for each in found(bench, kohya={"optimizer_type": optimiser})}
    assert not codes & {"option_value", "option_decided"}


@pytest.mark.parametrize(
    ("plan", "modules"),
    [
        ({}, []),
        ({"optimizer_type": "AdamW8bit"}, ["bitsandbytes"]),
        ({"optimizer_type": "AdamWScheduleFree", "lr_scheduler": "constant"}, ["schedulefree"]),
        ({"kohya": {"optimizer_type": "PagedLion8bit"}}, ["bitsandbytes"]),
        ({"kohya": {"optimizer_type": "prodigyplus.ProdigyPlusScheduleFree"}}, ["prodigyplus"]),
        ({"attention": "xformers", "kohya": {"network_module": "lycoris.kohya"}}, ["xformers", "lycoris"]),
    ],
)
def test_the_packages_that_a_plan_needs_are_known(bench, plan, modules):
    assert needed_modules(bench.plan(**plan)) == modules


def test_a_package_that_the_interpreter_lacks_is_told_before_the_models_are_loaded(bench):
    problems = found(bench, kohya={"optimizer_type": "came_pytorch.CAME"})
    assert ("missing_package", 'make kohya EXTRAS="came_pytorch"') in {
        (each.code, each.fix) for each in problems
    }


def test_what_only_the_native_engine_does_is_refused(bench):
    problems = blocking(found(bench, diff_output_preservation_multiplier=1.0))
    assert [each.code for each in problems] == ["preservation"] and "native" in problems[0].fix
