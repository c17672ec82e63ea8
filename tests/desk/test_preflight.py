"""Before anything is spent, everything that is wrong is told at once, in words that a person can act on."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from kohya_bridge.desk import Desk
from kohya_bridge.device.description import Device
from kohya_bridge.engines.contract import Problem
from kohya_bridge.errors import BridgeError, InvalidInput, NotFound, Refused, StorageError, Unavailable
from kohya_bridge.plan import read_request
from kohya_bridge.runs.choices import read_choices
from tests.desk.conftest import BASE, make_dataset, request, write_base_model
from tests.doubles.quick_engine import QuickEngine


def told(error: BridgeError) -> str:
    return f"{error.problem} {error.fix}"


def test_everything_wrong_with_a_request_is_told_in_one_round(desk):
    with pytest.raises(InvalidInput) as caught:
        desk.check(
            request(
                dataset="nobody", base_model="missing.safetensors", engine="kohya",
                settings={"network_dim": -4, "netwrok_alpha": 2},
            )
        )  # fmt: skip
    fields = {each.field for each in caught.value.problems}
    assert fields == {"dataset", "base_model", "network_dim", "netwrok_alpha", "engine"}
    assert "Did you mean 'network_alpha'?" in caught.value.problem


def test_an_unknown_preset_names_the_known_ones(desk):
    with pytest.raises(InvalidInput) as caught:
        desk.check(request(preset="fancy"))
    assert "'fancy'" in told(caught.value) and "standard" in told(caught.value)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..\\x.safetensors", "C:\\x.safetensors", ""])
def test_a_model_name_cannot_lead_out_of_the_model_folders(desk, name):
    with pytest.raises(InvalidInput, match="can't be the name of a checkpoint"):
        desk.check(request(base_model=name))


def test_a_slug_that_is_a_path_is_refused_before_anything_is_read():
    with pytest.raises(InvalidInput, match="can't be the name of a dataset"):
        request(dataset="../x")


def test_a_config_with_a_typo_names_the_setting_that_was_meant(tmp_path):
    file = tmp_path / "alice.yaml"
    file.write_text("dataset: alice\nbase_modle: x.safetensors\n")
    with pytest.raises(InvalidInput) as caught:
        read_request(file)
    assert "alice.yaml" in caught.value.problem
    assert "Did you mean 'base_model'?" in caught.value.problem


def test_a_missing_checkpoint_names_the_nearest_one(desk):
    with pytest.raises(NotFound) as caught:
        desk.check(request(base_model="small_sd51.safetensors"))
    assert BASE in caught.value.fix


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.safetensors", b"\x10\x27\x00\x00\x00\x00\x00\x00{", "cut off"),
        ("old.ckpt", b"\x80\x02}q\x00.", "pickle"),
        ("page.safetensors", b"<html>not found</html>", "web page"),
    ],
)
def test_a_file_that_is_no_model_is_told_as_what_it_is(desk, tmp_path, name, content, words):
    (tmp_path / "models" / "checkpoints" / name).write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        desk.check(request(base_model=name))
    assert words in caught.value.problem


def test_an_empty_dataset_is_told_as_such(desk, workspace):
    (workspace.dataset_dir("empty") / "images").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="holds no pictures"):
        desk.check(request(dataset="empty"))


def test_lint_errors_block_the_start_and_warnings_do_not(desk, workspace):
    folder = make_dataset(workspace, "uncaptioned")
    (folder / "captions.jsonl").write_text("")
    check = desk.check(request(dataset="uncaptioned"))
    assert check.blocking and all(each.code.startswith("lint:E") for each in check.blocking)
    with pytest.raises(Refused) as caught:
        desk.submit(check)
    assert "0001.png" in caught.value.problem
    assert desk.runs() == []
    assert not desk.check(request()).blocking


def test_obstacles_of_an_engine_block_and_its_advice_does_not(desk_with):
    obstacle = Problem("no_gpu", "There is no GPU.", "Buy one.")
    advice = Problem("slow", "This will be slow.", "Have patience.", blocks=False)
    check = desk_with(QuickEngine(obstacles=(obstacle, advice))).check(request())
    assert obstacle in check.blocking and advice in check.advice
    with pytest.raises(Refused, match="There is no GPU"):
        check.refuse_if_blocked()


def test_a_disk_that_is_too_full_blocks_the_start_with_figures(desk_with):
    desk = desk_with(least_free_bytes=1 << 60)
    with pytest.raises(Refused, match="GB are free"):
        desk.submit(request())


def test_the_family_is_read_from_the_checkpoint_and_a_wrong_one_refused(desk):
    assert desk.check(request()).plan.base_model.family == "sd15"
    with pytest.raises(InvalidInput, match=r"is a Stable Diffusion 1\.x model, not a Stable Diffusion XL"):
        desk.check(request(family="sdxl"))


def test_a_checkpoint_that_says_it_predicts_v_is_trained_so(desk, tmp_path):
    write_base_model(
        tmp_path / "models" / "checkpoints" / "v.safetensors", metadata={"modelspec.prediction_type": "v"}
    )
    assert desk.check(request(base_model="v.safetensors")).plan.settings.prediction_type == "v_prediction"
    against = desk.check(request(base_model="v.safetensors", settings={"prediction_type": "epsilon"}))
    assert [each.code for each in against.blocking] == ["prediction_type"]


def test_auto_says_which_engine_it_took_and_why(desk):
    assert desk.check(request()).engine_reason == (
        "Engine native: it trains Stable Diffusion 1.x, and nothing in this plan needs another one."
    )
    with pytest.raises(Unavailable, match="kohya engine is not part"):
        desk.check(request(kohya={"loss_type": "huber"}))


AVX2 = Device("cpu", "AMD EPYC", "avx2")
AMPERE = Device("cuda", "NVIDIA GeForce RTX 3060", "8.6", 12.0)
TURING = Device("cuda", "NVIDIA GeForce RTX 2080", "7.5", 8.0)


@pytest.mark.parametrize("device, name", [(AVX2, "no"), (AMPERE, "bf16"), (TURING, "fp16")])
def test_auto_becomes_the_format_of_the_device_and_is_the_same_run_as_that_format_by_name(
    desk_with, device, name
):
    desk = desk_with(QuickEngine(trains_on=device))
    check = desk.check(request())
    assert check.plan.settings.mixed_precision == name
    assert check.precision_reason.startswith(f"{name}: ")
    named = desk.check(request(settings={"mixed_precision": name}))
    assert named.plan == check.plan and named.precision_reason == ""


def test_auto_asks_the_engine_that_was_chosen(workspace, tmp_path):
    both = {"native": QuickEngine(trains_on=AVX2), "kohya": QuickEngine(name="kohya", trains_on=TURING)}
    desk = Desk(workspace, checkpoint_dirs=[tmp_path / "models" / "checkpoints"], engines=both)
    assert desk.check(request()).plan.settings.mixed_precision == "no"
    assert desk.check(request(kohya={"loss_type": "huber"})).plan.settings.mixed_precision == "fp16"


def test_a_run_keeps_why_its_format_was_chosen(desk_with):
    desk = desk_with(QuickEngine(trains_on=AVX2))
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    check = desk.check(request())
    said, estimate = read_choices(run).facts(is_over=False)
    assert read_choices(run).facts(is_over=True) == [said]
    assert said == f"mixed_precision {check.precision_reason}."
    assert estimate == check.forecast.sentence() and estimate.startswith("Estimate: ")
    assert read_choices(run).engine.startswith("Engine native")
    run.choices_file.write_text("[1]")
    assert read_choices(run).facts(is_over=False) == []


def test_auto_takes_kohya_where_a_plan_needs_it(workspace, tmp_path):
    both = {"native": QuickEngine(), "kohya": QuickEngine(name="kohya")}
    desk = Desk(workspace, checkpoint_dirs=[tmp_path / "models" / "checkpoints"], engines=both)
    check = desk.check(request(kohya={"loss_type": "huber"}))
    assert check.plan.engine == "kohya"
    assert "These options exist in sd-scripts only: loss_type." in check.engine_reason


@pytest.mark.torch
def test_a_family_that_only_sd_scripts_trains_goes_to_kohya_without_a_look_at_the_header(workspace, tmp_path):
    (tmp_path / "models" / "checkpoints" / "flux.safetensors").write_bytes(b"no header that we know")
    both = {"native": QuickEngine(), "kohya": QuickEngine(name="kohya")}
    desk = Desk(workspace, checkpoint_dirs=[tmp_path / "models" / "checkpoints"], engines=both)
    check = desk.check(request(base_model="flux.safetensors", family="hunyuan_image"))
    assert check.plan.engine == "kohya"
    assert "The native engine does not train HunyuanImage 2.1" in check.engine_reason


def test_a_lora_to_start_from_is_found_by_name_or_digest(desk, tmp_path):
    file = tmp_path / "models" / "loras" / "old.safetensors"
    file.parent.mkdir(parents=True)
    save_file({"lora_unet_x.lora_down.weight": np.zeros((2, 4), np.float32)}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    by_name = desk.check(request(settings={"network_weights": "old.safetensors"}))
    by_digest = desk.check(request(settings={"network_weights": digest}))
    assert by_name.plan.settings.network_weights == digest
    assert by_name.plan.run_id == by_digest.plan.run_id
    assert by_digest.paths.extra["network_weights"] == str(file)
    with pytest.raises(NotFound):
        desk.check(request(settings={"network_weights": "f" * 64}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>not found</html>", "web page"),
        (b"", "empty"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00{", "cut off"),
        ({"lora_unet_x.lora_down.weight": np.full((2, 4), np.nan, np.float32)}, "not finite"),
        ({"model.diffusion_model.out.2.weight": np.ones((2, 4), np.float32)}, "no key in it ends in"),
    ],
)
@pytest.mark.parametrize("name", ["network_weights", "base_weights"])
def test_a_damaged_lora_to_start_from_is_refused_before_the_start(desk, tmp_path, name, content, said):
    file = tmp_path / "models" / "loras" / "old.safetensors"
    file.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        save_file(content, file)
    with pytest.raises(InvalidInput, match=said) as refused:
        desk.check(request(settings={name: "old.safetensors"}))
    assert f"can't be used as {name}" in refused.value.problem


def test_a_changed_input_makes_a_new_run_and_says_what_changed(desk, workspace):
    first = desk.submit(request())
    desk.wait(first.run_id, poll_s=0.05)
    captions = workspace.dataset_dir("alice") / "captions.jsonl"
    captions.write_text(captions.read_text().replace("portrait", "profile"))
    check = desk.check(request(settings={"network_dim": 8}))
    assert check.plan.run_id != first.run_id
    assert check.compared_with == first.run_id
    assert {field for field, _, _ in check.changes} == {"dataset.digest", "settings.network_dim"}


def test_a_dataset_that_changed_between_check_and_submit_is_noticed(desk, workspace):
    check = desk.check(request())
    captions = workspace.dataset_dir("alice") / "captions.jsonl"
    captions.write_text(captions.read_text().replace("portrait", "profile"))
    with pytest.raises(BridgeError, match="has changed"):
        desk.submit(check)
    assert desk.queue() == []


def test_the_digest_of_a_base_model_is_computed_once(desk, workspace):
    first = desk.check(request()).plan.base_model.sha256
    kept = list((workspace.cache_dir / "sha256").glob("*.json"))
    assert any(json.loads(each.read_text())["sha256"] == first for each in kept)


def test_a_workspace_that_cannot_be_written_is_told_in_words(desk, workspace):
    workspace.runs_dir.write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="can't be written"):
        desk.submit(request())


def test_what_is_advised_before_the_start_is_a_notice_of_the_run_once_however_often_it_is_ordered(desk_with):
    advised = Problem("no_gpu", "No GPU was found: this will take long.", "Fine for trials.", blocks=False)
    desk = desk_with(QuickEngine(obstacles=(advised,)))
    check = desk.check(request())
    run = desk.submit(check)
    desk.wait(run.run_id)
    desk.submit(check)
    told = [(row["level"], row["problem"]) for row in run.state().notices]
    assert told == [("warning", "No GPU was found: this will take long.")]
