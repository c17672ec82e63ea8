"""Whole trainings as child processes: what they write, that they learn, and how they obey."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from kohya_bridge.engines.child import EXIT_COMPLETED
from kohya_bridge.engines.native.diffusers_side.models import load_base
from kohya_bridge.engines.native.diffusers_side.wearing import wearing
from kohya_bridge.models.lora_facts import check_lora
from tests.native_world import (
    World,
    events,
    finish,
    make_dataset,
    start,
    start_cold,
    tokenizer_dir,
    wait_for_step,
)

pytestmark = pytest.mark.torch


def test_a_run_started_by_its_command_trains_to_the_end(world):
    run = world.run(world.plan(optimizer_type="AdamW8bit"))
    assert start_cold(run).wait(120) == EXIT_COMPLETED
    state = run.state()
    assert (state.status, state.step, state.total) == ("completed", 12, 12)
    assert [row[0] for row in state.losses] == list(range(1, 13))
    assert [row["step"] for row in state.checkpoints] == [4, 8, 12]
    assert [row["step"] for row in state.states] == [8, 12]
    assert [row["step"] for row in state.validations] == [0, 4, 8, 12]
    environment = json.loads(run.environment_file.read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["device"] == "cpu"


def test_the_child_imports_no_torch_before_its_first_event():
    asked = "import sys, kohya_bridge.engines.native.__main__; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_diffusers_is_imported_without_what_nobody_uses_which_is_there_afterwards():
    asked = (
        "import sys; from kohya_bridge.engines.native.diffusers_side.quick_imports import import_diffusers; import_diffusers();"
        "print('peft' in sys.modules, 'bitsandbytes' in sys.modules); import bitsandbytes, kohya_bridge.engines.training.fit"
    )
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False False"


def test_the_final_lora_is_sound_and_of_the_planned_step(world):
    run = world.run(world.plan(save_precision="fp16"))
    assert finish(run) == EXIT_COMPLETED
    row = run.checkpoint("latest")
    assert row["final"]
    assert check_lora(run.dir / row["file"], step=12) == ()
    with safe_open(run.dir / row["file"], "pt") as file:
        assert file.metadata()["ss_network_dim"] == "4"
        assert file.metadata()["ss_num_train_images"] == "6"


def test_training_lowers_the_loss_on_held_out_and_on_trained_pictures(world):
    run = world.run(world.plan(max_train_steps=60, save_every_n_steps=0, validate_every_n_steps=60))
    assert finish(run) == EXIT_COMPLETED
    before, after = run.state().validations
    assert after["loss"] < 0.9 * before["loss"]
    assert after["train_loss"] < 0.9 * before["train_loss"]
    assert after["psnr"] > before["psnr"] + 0.3
    assert before["loss_low"] < before["loss"] < before["loss_high"]


def test_the_best_checkpoint_is_chosen_linked_and_explained(world):
    run = world.run(world.plan())
    assert finish(run) == EXIT_COMPLETED
    best = json.loads(run.best_file.read_text())
    assert run.state().best["file"] == best["file"]
    assert (run.dir / "best.safetensors").read_bytes() == (run.dir / best["file"]).read_bytes()
    assert best["reason"]


@pytest.mark.parametrize(
    "settings",
    [
        {"mixed_precision": "bf16"},
        {"gradient_checkpointing": True, "gradient_accumulation_steps": 2},
        {"flip_aug": True, "noise_offset": 0.05, "network_dropout": 0.2, "caption_dropout_rate": 0.5},
        {"cache_latents": False, "cache_text_encoder_outputs": False, "shuffle_caption": True},
        {
            "network_train_unet_only": False,
            "cache_text_encoder_outputs": False,
            "gradient_checkpointing": True,
        },
        {
            "prediction_type": "v_prediction",
            "zero_terminal_snr": True,
            "max_token_length": 150,
            "clip_skip": 2,
        },
        {"conv_dim": 2, "enable_bucket": False, "bucket_no_upscale": False, "num_repeats": 2},
        {"diff_output_preservation_multiplier": 1.0, "caption_dropout_rate": 0.5},
        {"diff_output_preservation_every_n_steps": 2, "diff_output_preservation_multiplier": 1.0},
        {
            "diff_output_preservation_multiplier": 1.0,
            "network_train_unet_only": False,
            "cache_text_encoder_outputs": False,
            "shuffle_caption": True,
            "gradient_checkpointing": True,
        },
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_kind_of_setting_trains(world, settings):
    run = world.run(world.plan(max_train_steps=3, **settings))
    assert finish(run) == EXIT_COMPLETED, run.log_tail()
    weights = load_file(run.dir / run.checkpoint("latest")["file"])
    assert any(value.abs().max() > 0 for key, value in weights.items() if key.endswith("lora_up.weight"))
    trains_text = any(key.startswith("lora_te") for key in weights)
    assert trains_text == (not settings.get("network_train_unet_only", True))


def test_preservation_keeps_the_base_models_answers_without_the_trigger(world):
    """Both runs learn the pictures; only the preserving one leaves captions without the trigger as they were."""
    lessons = {"max_train_steps": 80, "save_every_n_steps": 0, "validate_every_n_steps": 80, "seed": 5}
    moved, gained = {}, {}
    for multiplier in (0.0, 4.0):
        run = world.run(
            world.plan(diff_output_preservation_multiplier=multiplier, **lessons), name=str(multiplier)
        )
        assert finish(run) == EXIT_COMPLETED, run.log_tail()
        before, after = run.state().validations
        gained[multiplier] = before["loss"] - after["loss"]
        base = load_base(world.base, family="sd15", tokenizer_dir=tokenizer_dir())
        answers = answers_of(base, ["char_dot, red ground, round", "red ground, round"])
        with wearing(base, run.dir / run.checkpoint("latest")["file"], 1.0):
            change = answers_of(base, ["char_dot, red ground, round", "red ground, round"]) - answers
        moved[multiplier] = change.square().mean(dim=(1, 2, 3)).tolist()
    assert gained[4.0] > 0.5 * gained[0.0] > 0
    (with_trigger, without), (kept_with, kept_without) = moved[0.0], moved[4.0]
    assert without > 0.5 * with_trigger  # left to itself, a LoRA changes everything
    assert kept_without < 0.5 * kept_with


@torch.no_grad()
def answers_of(base, captions):
    """What the U-Net says of the same noise with each caption, (captions, C, H, W)."""
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    hidden = base.text.encode(base.text.tokenize(captions)).hidden
    return base.unet(noise.expand(len(captions), -1, -1, -1), 500, hidden).sample.float()


@pytest.mark.parametrize(
    "text", [{}, {"network_train_unet_only": False, "cache_text_encoder_outputs": False}]
)
def test_sdxl_trains_with_size_conditioning_and_two_text_encoders(sdxl_world, text):
    run = sdxl_world.run(sdxl_world.plan(max_train_steps=3, **text))
    assert finish(run) == EXIT_COMPLETED, run.log_tail()
    weights = load_file(run.dir / run.checkpoint("latest")["file"])
    assert {key.split("_")[1] for key in weights} == ({"unet", "te1", "te2"} if text else {"unet"})


def test_gradient_checkpointing_changes_no_number(world):
    plain = world.run(world.plan(), name="plain")
    saving = world.run(world.plan(gradient_checkpointing=True), name="saving")
    assert finish(plain) == finish(saving) == EXIT_COMPLETED
    assert [row[1] for row in plain.state().losses] == pytest.approx(
        [row[1] for row in saving.state().losses], rel=1e-4
    )


def test_accumulating_micro_batches_is_like_a_larger_batch_in_one_bucket(world):
    dataset = make_dataset(world.root / "square", sizes=((64, 64),))
    alike = {"validation_split": 0, "max_train_steps": 1, "min_snr_gamma": 0}
    large = world.run(world.plan(train_batch_size=4, **alike), name="large", dataset_dir=dataset)
    small = world.run(
        world.plan(train_batch_size=4, gradient_accumulation_steps=2, **alike),
        name="small",
        dataset_dir=dataset,
    )
    assert finish(large) == finish(small) == EXIT_COMPLETED
    (one,), (two,) = events(large, "progress"), events(small, "progress")
    assert two["epoch"] == 1
    assert two["loss"] == pytest.approx(one["loss"], rel=0.3)


def test_a_lora_can_start_from_another(world):
    first = world.run(world.plan(), name="first")
    assert finish(first) == EXIT_COMPLETED
    file = first.dir / first.checkpoint("latest")["file"]
    sha256 = first.checkpoint("latest")["sha256"]
    plan = world.plan(network_weights=sha256, max_train_steps=1)
    second = world.run(plan, name="second", extra={"network_weights": str(file)})
    assert finish(second) == EXIT_COMPLETED, second.log_tail()
    starts_where_the_first_ended = second.state().validations[0]["loss"]
    assert starts_where_the_first_ended == pytest.approx(first.state().validations[-1]["loss"], rel=1e-5)


def test_stopping_saves_lora_and_state_at_a_step_boundary_and_exits_with_0(world):
    run = world.run(world.plan(max_train_steps=2000, save_every_n_steps=0, validate_every_n_steps=0))
    child = start(run)
    wait_for_step(run, 5, child)
    run.ask("stop")
    child.join(30)
    assert child.exitcode == EXIT_COMPLETED
    state = run.state()
    assert state.status == "stopped"
    assert run.latest_state()[0] == state.step == run.checkpoint("latest")["step"]
    assert check_lora(run.dir / run.checkpoint("latest")["file"], step=state.step) == ()
    assert not run.asked("stop")


def test_a_stop_at_a_step_whose_lora_is_saved_without_a_state_saves_the_state(world):
    settings = {
        "save_every_n_steps": 1,
        "save_state": False,
        "validate_every_n_steps": 0,
        "validation_split": 0,
    }
    run = world.run(world.plan(max_train_steps=2000, **settings))
    child = start(run)
    wait_for_step(run, 3, child)
    run.ask("stop")
    child.join(30)
    assert child.exitcode == EXIT_COMPLETED
    assert run.latest_state()[0] == run.state().step


def test_sigterm_is_a_soft_stop(world):
    run = world.run(world.plan(max_train_steps=2000, save_every_n_steps=0, validate_every_n_steps=0))
    child = start(run)
    wait_for_step(run, 3, child)
    child.terminate()
    child.join(30)
    assert child.exitcode == EXIT_COMPLETED
    assert run.latest_state()[0] == run.state().step


def test_a_stop_before_the_first_step_ends_at_once(world):
    run = world.run(world.plan())
    run.ask("stop")
    assert finish(run) == EXIT_COMPLETED
    assert (run.state().status, run.state().step) == ("stopped", 0)


def test_a_paused_run_makes_no_step_until_it_is_resumed(world):
    run = world.run(world.plan(max_train_steps=40, save_every_n_steps=0, validate_every_n_steps=0))
    child = start(run)
    wait_for_step(run, 3, child)
    run.ask("pause")
    while run.state().status != "paused":
        assert child.is_alive()
    at = run.state().step
    child.join(0.5)
    assert run.state().step == at
    run.withdraw("pause")
    child.join(60)
    assert child.exitcode == EXIT_COMPLETED
    assert [row[0] for row in run.state().losses] == list(range(1, 41))


def test_a_checkpoint_and_a_sample_are_made_on_request_and_training_goes_on(world):
    run = world.run(world.plan(max_train_steps=120, save_every_n_steps=0, validate_every_n_steps=0))
    child = start(run)
    wait_for_step(run, 3, child)
    run.ask("checkpoint")
    run.ask("sample")
    child.join(90)
    assert child.exitcode == EXIT_COMPLETED, run.log_tail()
    assert [row["final"] for row in run.state().checkpoints] == [False, True]
    (sample,) = run.state().samples
    with Image.open(run.dir / sample["file"]) as picture:
        assert picture.size == (64, 64)
    stages = [(event["action"], event["stage"]) for event in events(run, "control")]
    assert ("checkpoint", "done") in stages and ("sample", "done") in stages
    assert not run.asked("checkpoint") and not run.asked("sample")


def test_requests_change_no_byte_of_the_result(world):
    plan = world.plan(max_train_steps=40, save_every_n_steps=0)
    quiet, disturbed = world.run(plan, name="quiet"), world.run(plan, name="disturbed")
    assert finish(quiet) == EXIT_COMPLETED
    child = start(disturbed)
    wait_for_step(disturbed, 5, child)
    disturbed.ask("lend", name="a prompt")
    while disturbed.state().status != "lent":
        assert child.is_alive()
    for request in ("checkpoint", "sample"):
        disturbed.ask(request)
    disturbed.withdraw("lend")
    child.join(60)
    told = [event["action"] for event in events(disturbed, "control")]
    assert {"lend", "take_back", "checkpoint", "sample"} <= set(told)
    assert disturbed.checkpoint("latest")["sha256"] == quiet.checkpoint("latest")["sha256"]


def test_early_stop_ends_the_run_with_a_final_lora_and_says_why(world):
    plan = world.plan(unet_lr=1e-9, max_train_steps=60, early_stop_patience=2, early_stop_min_delta=0.01)
    run = world.run(plan)
    assert finish(run) == EXIT_COMPLETED
    state = run.state()
    assert (state.status, state.step) == ("completed", 8)
    assert next(row for row in state.checkpoints if row["final"])["step"] == 8
    (notice,) = [row for row in state.notices if row["code"] == "early_stop"]
    assert "early_stop_patience is 2" in notice["problem"]


def test_a_second_run_finds_all_encodings_in_the_cache(world):
    own = World(world.root, world.base, world.dataset, world.root / "cache")
    first, second = own.run(own.plan(), name="first"), own.run(own.plan(unet_lr=1e-3), name="second")
    assert finish(first) == finish(second) == EXIT_COMPLETED
    assert [event for event in events(first, "phase") if event["name"] == "caching"]
    assert not [event for event in events(second, "phase") if event["name"] == "caching"]


@pytest.mark.full
@pytest.mark.timeout(900)
def test_compiled_blocks_train_like_plain_ones(world):
    settings = {
        "max_train_steps": 6,
        "validate_every_n_steps": 0,
        "enable_bucket": False,
        "train_batch_size": 1,
    }
    plain = world.run(world.plan(**settings), name="plain")
    compiled = world.run(world.plan(**settings, torch_compile=True), name="compiled")
    assert finish(plain) == EXIT_COMPLETED
    assert start_cold(compiled).wait(600) == EXIT_COMPLETED, compiled.log_tail()
    losses = [[row[1] for row in run.state().losses] for run in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
