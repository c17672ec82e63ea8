"""Bad input in the canvas: a sentence of problem and one of fix, no traceback of ours, and nothing lost."""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from kohya_bridge.models.safetensors_header import read_header
from scripts.host.comfy_client import PromptRefused, outcome
from tests.host.canvas import (
    BASE_MODEL,
    changed,
    id_of,
    lint_and_train,
    only_training,
    plain_render,
    said,
    small_dataset,
)

pytestmark = pytest.mark.host


def failure(comfy, prompt):
    """What ComfyUI shows after a prompt that must fail: its message, or the refusal of its validation."""
    try:
        history = comfy.client.run(prompt)
    except PromptRefused as refused:
        return str(refused)
    message = outcome(history)
    assert message != "success"
    return message


def assert_plain(message):
    assert message
    assert not re.search(r'Traceback|File "|\.py\b|line \d+, in', message), message


@pytest.fixture
def spoilt(comfy, request):
    """A dataset folder in ComfyUI's input folder that a test may spoil; its name is the test's."""
    name = re.sub(r"\W+", "_", request.node.name.lower())[:40].strip("_")
    folder = comfy.base_dir / "input" / name
    small_dataset(folder)
    return folder


def training_on(folder, **train):
    return changed(
        only_training(dataset=folder.name, **train), "WizdroidCaptionExport", folder=f"input/{folder.name}"
    )


def test_a_checkpoint_that_is_not_there_is_refused_before_anything_runs(comfy):
    message = failure(comfy, only_training(dataset="bad", base_model="nowhere.safetensors"))
    assert "nowhere.safetensors" in message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "truncated.safetensors",
            b'\x40\x00\x00\x00\x00\x00\x00\x00{"a":',
            "truncated|cut|damaged|not complete|ends",
        ),
        ("pickle.ckpt", b"PK\x03\x04 a torch pickle", "pickle|safetensors"),
        ("empty.safetensors", b"", "empty|no safetensors|header"),
    ],
)
def test_a_checkpoint_that_can_not_be_read_is_named_with_what_to_do(comfy, name, content, said):
    (comfy.checkpoints_dir / name).write_bytes(content)
    message = failure(comfy, only_training(dataset="bad", base_model=name))
    assert_plain(message)
    assert name in message
    assert re.search(said, message, re.I), message


@pytest.mark.parametrize("slug", ["../x", "Alice", "con", "", "a/b"])
def test_a_dataset_name_that_could_leave_the_workspace_is_refused(comfy, slug):
    message = failure(comfy, only_training(dataset=slug))
    assert_plain(message)
    assert "lower-case letters" in message
    assert not (comfy.base_dir / "x").exists()


@pytest.mark.parametrize("value", ({"slug": "wren"}, "wren", 7, True), ids=str)
@pytest.mark.parametrize(
    ("node", "wire", "connect"),
    [
        ("WizdroidKohyaTrain", "dataset", "Connect Caption Export or Dataset Lint to it"),
        ("WizdroidDatasetLint", "settings", "Connect Training Settings or Kohya Model Files to it"),
        ("WizdroidDatasetLint", "dataset", "Connect Caption Export or Dataset Lint to it"),
        ("WizdroidCaptionExport", "images", "Connect a node that gives pictures"),
        ("WizdroidPackageLora", "run", "Connect Kohya Train or Training Run to it"),
        ("WizdroidLoraValidateGrid", "run", "Connect Kohya Train or Training Run to it"),
    ],
)
def test_a_value_in_place_of_a_wire_is_named_with_the_node_to_connect(comfy, node, wire, connect, value):
    """What a program may post to /prompt; a page draws wires only. (Of lists ComfyUI itself says that they are no links.)"""
    prompt = lint_and_train(dataset="char_wren")
    if node == "WizdroidCaptionExport":
        prompt = {"1": {"class_type": node, "inputs": {"dataset_name": "bad_wire", "mode": "append"}}}
    elif node not in {each["class_type"] for each in prompt.values()}:
        prompt = {"1": {"class_type": node, "inputs": {}}}
    elif node == "WizdroidKohyaTrain":  # alone: what feeds it would fail before it
        del prompt[id_of(prompt, "WizdroidDatasetLint")]
    (place,) = (each for each in prompt.values() if each["class_type"] == node)
    known = comfy.client.get(f"object_info/{node}")[node]["input"]
    for name, spec in {**known.get("required", {}), **known.get("optional", {})}.items():
        if name not in place["inputs"] and isinstance(spec[1], dict) and "default" in spec[1]:
            place["inputs"][name] = spec[1]["default"]
    missing = [name for name in known.get("required", {}) if name not in place["inputs"]]
    place["inputs"].update(
        dict.fromkeys([*missing, wire], value)
    )  # other wires of the node, which come behind it
    message = failure(comfy, prompt)
    assert_plain(message)
    assert f"as its {wire}, where a wire belongs" in message and connect in message


def test_a_negative_rank_is_refused_before_anything_runs(comfy):
    assert "smaller than min" in failure(comfy, only_training(dataset="bad", rank=-1))


def test_an_unknown_preset_is_refused_before_anything_runs(comfy):
    message = failure(comfy, only_training(dataset="bad", preset="perfect"))
    assert "perfect" in message and "standard" in message


def test_settings_with_a_typo_name_the_nearest_known_one_and_every_other_fault(comfy):
    prompt = only_training(dataset="bad")
    train = prompt[id_of(prompt, "WizdroidKohyaTrain")]
    defaults = {
        key: spec[1].get("default")
        for key, spec in comfy.client.get("object_info/WizdroidTrainingSettings")["WizdroidTrainingSettings"][
            "input"
        ]["required"].items()
    }
    more = "sav_every_n_steps: 5\nnoise_offset: 7"
    prompt["90"] = {"class_type": "WizdroidTrainingSettings", "inputs": {**defaults, "more": more}}
    train["inputs"]["settings"] = ["90", 0]
    message = failure(comfy, prompt)
    assert_plain(message)
    assert "Did you mean 'save_every_n_steps'?" in message
    assert "noise_offset" in message


def test_a_precision_that_the_device_can_not_do_is_an_error_before_the_start(comfy):
    prompt = only_training(dataset="bad")
    prompt["90"] = settings_node(comfy, mixed_precision="fp16")
    prompt[id_of(prompt, "WizdroidKohyaTrain")]["inputs"]["settings"] = ["90", 0]
    message = failure(comfy, prompt)
    assert_plain(message)
    assert "fp16" in message
    assert not (comfy.workspace_dir / "runs" / "bad").exists()


def settings_node(comfy, **chosen):
    required = comfy.client.get("object_info/WizdroidTrainingSettings")["WizdroidTrainingSettings"]["input"][
        "required"
    ]
    return {
        "class_type": "WizdroidTrainingSettings",
        "inputs": {**{key: spec[1]["default"] for key, spec in required.items()}, "more": "", **chosen},
    }


def test_an_export_without_pictures_says_what_to_wire(comfy):
    prompt = changed(only_training(dataset="bad_empty"), "WizdroidCaptionExport", folder="(the wired images)")
    message = failure(comfy, prompt)
    assert_plain(message)
    assert "image" in message.lower()


def test_an_empty_folder_is_refused(comfy, spoilt):
    for file in (spoilt / "images").iterdir():
        file.unlink()
    assert_plain(failure(comfy, training_on(spoilt)))


def test_a_corrupt_picture_is_found_named_and_holds_the_training_back(comfy, spoilt):
    folder = exported(comfy, spoilt)
    victim = sorted((folder / "images").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:500])
    report, errors = blocked_by_lint(comfy, spoilt.name)
    assert victim.name in report
    assert victim.name in errors[0]["exception_message"]
    assert all(error["traceback"] == [] for error in errors)


def test_captions_that_are_no_utf8_are_found_and_hold_the_training_back(comfy, spoilt):
    captions = exported(comfy, spoilt) / "captions.jsonl"
    captions.write_bytes(captions.read_bytes().replace(b"char_wren", b"char_wren \xff\xfe", 1))
    report, errors = blocked_by_lint(comfy, spoilt.name)
    assert "UTF-8" in report
    assert "UTF-8" in errors[0]["exception_message"]


def exported(comfy, folder):
    """The folder as a dataset of the workspace."""
    prompt = training_on(folder)
    del prompt[id_of(prompt, "WizdroidKohyaTrain")]
    assert outcome(comfy.client.run(prompt)) == "success"
    return comfy.workspace_dir / "kohya" / "datasets" / folder.name


def blocked_by_lint(comfy, dataset):
    """The lint report, and the errors that ComfyUI showed; nothing may have been trained."""
    prompt = lint_and_train(dataset=dataset)
    events = []
    history = comfy.client.follow(prompt, lambda kind, data: events.append((kind, data)))
    assert not (comfy.workspace_dir / "runs" / dataset).exists()
    errors = [data for kind, data in events if kind == "execution_error"]
    assert errors
    return said(history, prompt, "WizdroidDatasetLint"), errors


def test_packaging_without_licence_and_approval_lists_all_that_is_missing(comfy, spoilt):
    (spoilt / "metadata.yaml").write_text("lora_tag: char_wren\n", encoding="utf-8")
    prompt = training_on(spoilt, steps=2)
    run = [id_of(prompt, "WizdroidKohyaTrain"), 0]
    prompt["90"] = {"class_type": "WizdroidPackageLora", "inputs": {"run": run, "which": "best", "step": 0}}
    message = failure(comfy, prompt)
    assert_plain(message)
    assert "licence" in message and "approv" in message
    assert not (comfy.loras_dir / spoilt.name).exists()


def test_a_lora_of_no_use_to_this_model_is_an_error_and_not_a_line_in_the_log(comfy):
    import numpy as np
    from safetensors.numpy import save_file

    save_file(
        {"lora_unet_foreign.lora_up.weight": np.zeros((4, 2), np.float32)},
        comfy.loras_dir / "foreign.safetensors",
    )
    inputs = {
        "package": "foreign.safetensors",
        "which": "best",
        "step": 0,
        "strength_model": 1.0,
        "strength_clip": 1.0,
    }
    message = failure(
        comfy, plain_render(wearing={"class_type": "WizdroidLoadTrainedLora", "inputs": inputs})
    )
    assert_plain(message)
    assert "foreign.safetensors" in message


def wearing(package):
    inputs = {"package": package, "which": "best", "step": 0, "strength_model": 1.0, "strength_clip": 1.0}
    return plain_render(wearing={"class_type": "WizdroidLoadTrainedLora", "inputs": inputs})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>not found</html>", "web page"),
        (b"", "empty"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00{", "cut off"),
        ({"lora_unet_x.lora_down.weight": np.full((2, 4), np.nan, np.float32)}, "not finite"),
        ({"bundle.weight": np.zeros((2, 4), np.float32)}, "It does not say what it was made for; its first key is 'bundle.weight'"),
    ],
)  # fmt: skip
def test_a_lora_that_is_damaged_or_none_is_refused_with_what_it_is(comfy, content, said):
    file = comfy.loras_dir / "spoilt.safetensors"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        save_file(content, file)
    message = failure(comfy, wearing("spoilt.safetensors"))
    assert_plain(message)
    assert "spoilt.safetensors" in message and said in message


def write_zeros(comfy, name, layers, metadata=None):
    """A LoRA without effect on layers of the demo's base: `{module: the layer's name in the checkpoint}`, None for one that no model has."""
    shapes = read_header(comfy.checkpoints_dir / BASE_MODEL).tensors
    tensors = {}
    for module, of in layers.items():
        out, into = shapes[of].shape if of else (8, 8)
        tensors |= {
            f"{module}.lora_down.weight": np.zeros((2, into), np.float32),
            f"{module}.lora_up.weight": np.zeros((out, 2), np.float32),
            f"{module}.alpha": np.array(1.0, np.float32),
        }
    save_file(tensors, comfy.loras_dir / name, metadata)


def test_a_lora_that_fits_in_part_says_how_much_of_it_and_what_it_was_made_for(comfy):
    layers = {
        "lora_unet_time_embed_0": "model.diffusion_model.time_embed.0.weight",
        "lora_unet_nowhere": None,
    }
    write_zeros(comfy, "part.safetensors", layers, {"ss_base_model_version": "sd_v1"})
    history = comfy.client.run(wearing("part.safetensors"))
    assert outcome(history) == "success"
    (note,) = history["outputs"]["9"]["text"]
    assert note.startswith("1 of 2 modules of part.safetensors fits this model; the others do nothing.")
    assert "made for Stable Diffusion 1" in note


def test_a_lora_with_names_of_onetrainer_that_comfyui_lacks_is_loaded_whole(comfy):
    text = "text_model.encoder.layers.0.mlp.fc1"
    layers = {
        "unet.time_embed.0": "model.diffusion_model.time_embed.0.weight",
        "lora_unet.time_embed.2": "model.diffusion_model.time_embed.2.weight",
        f"clip_l.{text}": f"cond_stage_model.transformer.{text}.weight",
    }
    write_zeros(comfy, "onetrainer.safetensors", layers)
    history = comfy.client.run(wearing("onetrainer.safetensors"))
    assert outcome(history) == "success"
    assert "fit this model" not in str(history["outputs"].get("9", ""))


def test_the_traceback_of_a_refusal_stands_in_the_log(comfy):
    already = len(comfy.log())
    failure(comfy, only_training(dataset="../x"))
    added = comfy.log()[already:]
    assert "InvalidInput" in added and "caption_export_node.py" in added


def test_a_flux_transformer_is_listed_and_what_it_lacks_is_told(comfy):
    """Its family is read from the file; its text encoders are in no folder here."""
    folder = comfy.base_dir / "models" / "diffusion_models"
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        "double_blocks.0.img_attn.qkv.weight",
        "single_blocks.0.linear1.weight",
        "vector_in.in_layer.weight",
    )
    save_file({name: np.zeros(1, np.float16) for name in names}, folder / "a_flux.safetensors")
    try:
        message = failure(comfy, only_training(dataset="bad", base_model="a_flux.safetensors"))
    finally:
        (folder / "a_flux.safetensors").unlink()
    assert_plain(message)
    assert "CLIP-L is needed" in message and "model_files.ae" in message
