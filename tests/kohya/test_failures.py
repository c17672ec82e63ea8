"""The failure doctor: every cause by the line that the real programs print, and the ladder of safer settings.

The lines are what sd-scripts, torch, accelerate and the system print; those that can be had without a GPU or a full disk are
provoked for real in `test_runner.py` and `test_real_sd_scripts.py`.
"""

from __future__ import annotations

import pytest

from kohya_bridge.engines.causes import CAUSES
from kohya_bridge.engines.failures import NEEDS_LESS_MEMORY, explain, explain_death, safer_settings
from kohya_bridge.errors import StorageError
from kohya_bridge.settings import TrainingSettings

LINES = [
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", "out_of_memory"),
    ("RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory", "out_of_memory"),
    ("RuntimeError: unable to mmap 4265250244 bytes from file <x>: Cannot allocate memory (12)", "out_of_memory"),
    ("OSError: The paging file is too small for this operation to complete. (os error 1455)", "out_of_memory"),
    ("No data found. Please verify arguments (train_data_dir must be the parent of folders with images) / 画像", "no_data"),
    ("AssertionError: caption file is empty / キャプションファイルが空です: /s/train/0001.txt", "caption_empty"),
    ("illegal char in file (not UTF-8) / ファイルにUTF-8以外の文字があります: /s/train/0001.txt", "caption_encoding"),
    ('ValueError: The provided pretrained_model_name_or_path "x" is neither a valid local path nor a valid repo id', "base_model_missing"),
    ("OSError: Cannot load model x: model is not cached locally and an error occurred", "base_model_missing"),
    ("safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer", "base_model_damaged"),
    ("KeyError: 'time_embed.0.weight'", "base_model_family"),
    ("RuntimeError: Error(s) in loading state_dict for SdxlUNet2DConditionModel:\n\tsize mismatch", "base_model_family"),
    ("RuntimeError: Error(s) in loading state_dict for LoRANetwork:\n\tUnexpected key(s)", "state_does_not_fit"),
    ("ChildFailure: The loss became nan at step 3 and the weights with it.", "not_finite"),
    ("OSError: [Errno 28] No space left on device", "disk_full"),
    ("safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)", "disk_full"),
    ("ModuleNotFoundError: No module named 'networks.nope'", "missing_package"),
    ("ImportError: No bitsandbytes / bitsandbytesがインストールされていないようです", "missing_package"),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "gpu_unsupported"),
    ("UserWarning: NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch", "gpu_unsupported"),
    ("AssertionError: Torch not compiled with CUDA enabled", "gpu_unsupported"),
    ("train_network.py: error: unrecognized arguments: --no_such_option 1", "bad_option"),
    ("voluptuous.error.MultipleInvalid: extra keys not allowed @ data['datasets'][0]['num_repeat']", "bad_option"),
    ("ValueError: nope is not a valid SchedulerType, please select one of ['linear']", "bad_option"),
    ("ValueError: fp16 mixed precision requires a GPU (not 'cpu').", "precision_unsupported"),
    ("RuntimeError: expected scalar type Half but found Float", "precision_unsupported"),
    ("AssertionError: duplicated lora name: lora_unet_time_embedding_linear_1", "lycoris_preset"),
    ("NotImplementedError: No operator found for `memory_efficient_attention_forward` with inputs:", "xformers"),
    ("OSError: Can't load tokenizer for 'openai/clip-vit-large-patch14'. If you were trying", "tokenizer_offline"),
    ("Error loading file: /s/train/0003.png", "picture_damaged"),
    ("AssertionError: image too large, but cropping and bucketing are disabled / 画像サイズが大きい", "picture_size"),
    ("RuntimeError: NaN detected in latents: /s/train/0001.png", "half_vae"),
    ("RuntimeError: DataLoader worker (pid 3) is killed by signal: Bus error.", "loader_worker"),
    ("PermissionError: [Errno 13] Permission denied: '/s/x'", "permission"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code"), LINES, ids=[code for _, code in LINES])
def test_a_line_of_the_log_tells_its_cause_with_evidence_and_a_fix(line, code):
    log = f"epoch 1/2\nTraceback (most recent call last):\n  File x\n{line}\n"
    found = explain_death(1, log)
    assert found.code == code
    assert found.problem and found.fix
    assert found.evidence and found.evidence in log


def test_every_cause_has_a_line_here():
    assert {cause.code for cause in CAUSES} == {code for _, code in LINES} | {"picture_shape"}


def test_a_division_by_zero_counts_only_where_a_bucket_is_chosen():
    def select_bucket():
        return 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        select_bucket()
    assert explain(caught.value)[2] == "picture_shape"
    assert explain(ZeroDivisionError("division by zero"))[2] == "exception"


def test_the_last_traceback_counts_not_an_earlier_warning():
    log = "ModuleNotFoundError: No module named 'xformers'\nTraceback (most recent call last):\nOSError: [Errno 28] No space"
    log += " left on device\n"
    assert explain_death(1, log).code == "disk_full"


@pytest.mark.parametrize(
    ("exit_code", "code"),
    [
        (-9, "killed"),
        (137, "killed"),
        (-15, "terminated"),
        (-6, "crashed"),
        (-11, "crashed"),
        (None, "vanished"),
        (7, "died"),
    ],
)
def test_an_end_without_a_known_line_is_told_by_how_the_process_ended(exit_code, code):
    assert explain_death(exit_code, "steps:  10%\n").code == code


def test_an_error_of_ours_keeps_its_own_words_and_a_full_disk_its_code():
    error = StorageError("x could not be written.", "Free space.")
    assert explain(error)[:2] == ("x could not be written.", "Free space.")
    error.__cause__ = OSError(28, "No space left on device")
    assert explain(error)[2] == "disk_full"


def test_the_memory_ladder_leaves_out_what_is_set_and_has_a_price_on_each_rung():
    settings = TrainingSettings(gradient_checkpointing=True, train_batch_size=1).model_dump()
    rungs = safer_settings(settings, "sdxl")
    changed = [name for rung in rungs for name in rung.changes]
    assert "gradient_checkpointing" not in changed and "train_batch_size" not in changed
    assert "kohya.blocks_to_swap" not in changed  # SDXL has none
    assert changed.index("optimizer_type") < changed.index("resolution") < changed.index("network_dim")
    assert all(rung.price for rung in rungs)


def test_every_rung_is_a_plan_that_is_valid():
    settings = TrainingSettings(resolution=1024).model_dump()
    for rung in safer_settings(settings, "sd15"):
        ours = {name: value for name, value in rung.changes.items() if not name.startswith("kohya.")}
        TrainingSettings(**{**settings, **ours})


def test_running_out_of_memory_offers_the_ladder():
    found = explain_death(3, "torch.OutOfMemoryError: CUDA out of memory.")
    assert found.code in NEEDS_LESS_MEMORY
    changes = [rung.changes_text() for rung in safer_settings(TrainingSettings().model_dump())]
    assert "gradient_checkpointing: True" in changes
