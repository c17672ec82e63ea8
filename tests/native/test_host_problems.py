"""What a plan for ComfyUI's own models is told before it starts; no torch and no ComfyUI is loaded for it."""

import json

import pytest

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.engines.contract import MachinePaths
from kohya_bridge.engines.native.host_problems import host_problems
from kohya_bridge.models.comfy_folders import host_folder, host_name
from kohya_bridge.plan import TrainingPlan

THROUGH_COMFYUI = [name for name, each in ARCHITECTURES.items() if each.trainable == "host"]


@pytest.fixture
def comfyui(tmp_path):
    """A folder with the marks of a ComfyUI that knows every family."""
    folder = tmp_path / "ComfyUI"
    (folder / "comfy" / "sd1_tokenizer").mkdir(parents=True)
    (folder / "comfy" / "sd.py").touch()
    for name, text in filter(None, (ARCHITECTURES[family].in_comfyui for family in THROUGH_COMFYUI)):
        (folder / "comfy" / name).parent.mkdir(parents=True, exist_ok=True)
        with open(folder / "comfy" / name, "a") as source:
            source.write(f"{text}\n")
    (folder / "comfyui_version.py").write_text('__version__ = "9.8.7"\n')
    return folder


def problems(folder, *, base="base.safetensors", family="zimage", text_encoder="", **settings):
    plan = TrainingPlan.model_validate(
        {
            "character": "dot",
            "dataset": {"slug": "dot", "digest": "d" * 64, "images": 8},
            "base_model": {"name": base, "sha256": "a" * 64, "family": family},
            "engine": "native",
            "engine_version": "1",
            "settings": {"mixed_precision": "bf16", "min_snr_gamma": 0.0, **settings},
        }
    )
    paths = MachinePaths(
        folder / base, folder, folder, folder / "comfy" / "sd1_tokenizer", {"text_encoder": text_encoder}
    )
    return {each.code: each for each in host_problems(plan, paths)}


@pytest.mark.parametrize("family", THROUGH_COMFYUI)
def test_nothing_stands_in_the_way_of_a_plain_plan(comfyui, family):
    assert problems(comfyui, family=family) == {}


def test_a_comfyui_that_has_its_models_elsewhere_is_not_refused(comfyui):
    (comfyui / "comfy" / "supported_models.py").unlink()
    assert problems(comfyui) == {}


def test_the_host_is_known_by_the_folder_of_its_tokenizer(comfyui):
    assert host_folder(comfyui / "comfy" / "sd1_tokenizer") == comfyui
    assert host_name(comfyui) == "9.8.7"


def test_without_a_comfyui_it_can_not_start(tmp_path):
    assert problems(tmp_path)["no_host"].blocks


def test_a_gguf_is_refused_with_what_to_take_instead(comfyui):
    found = problems(comfyui, base="z-image-Q4_K_M.gguf")["gguf"]
    assert found.blocks and ".safetensors" in found.fix


def stored(file, note, *, metadata=None):
    """A matrix of bytes with a note beside it, as ComfyUI's quantiser writes them."""
    tensors = {"layers.0.qkv.weight": b"\0" * 8, **({"layers.0.qkv.comfy_quant": note} if note else {})}
    entries, data = {"__metadata__": metadata or {}}, b""
    for name, content in tensors.items():
        entries[name] = {
            "dtype": "U8",
            "shape": [len(content)],
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    header = json.dumps(entries).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + data)


FORMER = {"_quantization_metadata": json.dumps({"layers": {"layers.0.qkv": {"format": "nvfp4"}}})}


@pytest.mark.parametrize(
    ("sources", "note", "metadata", "told"),
    [
        ({}, b'{"format": "nvfp4"}', {}, False),  # nobody knows: the child tells
        ({"ops.py": "comfy_quant", "quant_ops.py": '"nvfp4": {'}, b'{"format": "nvfp4"}', {}, False),
        ({"ops.py": "comfy_quant", "quant_ops.py": '"mxfp8": {'}, b'{"format": "nvfp4"}', {}, True),
        ({"ops.py": "", "quant_ops.py": '"nvfp4": {'}, b'{"format": "nvfp4"}', {}, True),
        ({"ops.py": "", "quant_ops.py": '"nvfp4": {'}, b"", FORMER, False),
        ({"ops.py": "", "quant_ops.py": ""}, b"", FORMER, True),
        ({"ops.py": "", "quant_ops.py": ""}, b"[" * 4000, {"_quantization_metadata": "[1]"}, False),
        ({"ops.py": "", "quant_ops.py": ""}, b"\xff", {"_quantization_metadata": "[" * 9000}, False),
    ],
)
@pytest.mark.parametrize("option", ["base", "text_encoder"])
def test_a_file_in_a_format_that_this_comfyui_cannot_read_is_refused_by_its_name(
    comfyui, sources, note, metadata, told, option
):
    for name, text in sources.items():
        (comfyui / "comfy" / name).write_text(text)
    stored(comfyui / f"{option}.safetensors", note, metadata=metadata)
    found = problems(comfyui, text_encoder=str(comfyui / "text_encoder.safetensors"))
    assert ("old_host_format" in found) == told
    if told:
        assert f"{option}.safetensors is stored as nvfp4" in found["old_host_format"].problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache_latents", False),
        ("cache_text_encoder_outputs", False),
        ("conv_dim", 4),
        ("torch_compile", True),
        ("attention", "xformers"),
    ],
)
def test_what_these_models_can_not_do_is_refused_by_its_name(comfyui, name, value):
    found = problems(comfyui, **{name: value})[name]
    assert found.blocks and name in found.problem and found.fix


def test_what_has_no_effect_is_advice(comfyui):
    assert not problems(comfyui, clip_skip=2)["no_effect"].blocks
