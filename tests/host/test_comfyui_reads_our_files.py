"""ComfyUI's own loader, U-Net, text encoder and autoencoder agree with what we train, and take our LoRA whole."""

import atexit
import functools
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kohya_bridge.engines.training.lora import add_lora
from kohya_bridge.engines.training.lora_file import save_lora
from kohya_bridge.settings import TrainingSettings
from scripts.base_layouts import SDXL_UNET, unet_shapes
from scripts.host.comfy_install import find_comfyui
from scripts.make_demo_base import demo_base, save_base, tiny_sd15
from tests.bases import inputs_for, load_tiny, save_fp32
from tests.native.reduced_layouts import REDUCED

pytestmark = pytest.mark.host
CAPTION = "char_alice, portrait, red dress, smile"
SETTINGS = TrainingSettings(
    network_dim=4,
    network_alpha=3.0,
    conv_dim=2,
    network_train_unet_only=False,
    cache_text_encoder_outputs=False,
)


@functools.cache
def reader():
    """`comfy_reader.py` with ComfyUI imported, for as long as this process lives."""
    install = find_comfyui()
    script = Path(__file__).with_name("comfy_reader.py")
    command = [install.python, str(script), str(install.dir), str(install.torchvision_dir or "")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    atexit.register(child.kill)
    return child


def ask_comfyui(work_dir: Path, task: str, **inputs):
    """`(tensors, what it said)` of a task of `comfy_reader.py`."""
    save_file(inputs or {"none": torch.zeros(1)}, work_dir / "inputs.safetensors")
    child = reader()
    child.stdin.write(json.dumps([task, str(work_dir)]) + "\n")
    child.stdin.flush()
    exit_code = child.stdout.readline().strip()
    assert exit_code == "0", (exit_code, (work_dir / "log.txt").read_text()[-3000:])
    return load_file(work_dir / "outputs.safetensors"), json.loads(
        (work_dir / "said.json").read_text("utf-8")
    )


@pytest.mark.parametrize("shape", REDUCED.values(), ids=REDUCED)
@torch.no_grad()
def test_reduced_layouts_predict_what_comfyuis_unet_predicts(shape, tmp_path):
    base = load_tiny(save_fp32(tmp_path, "base", tiny_sd15(unet=shape)))
    latents, steps, more = inputs_for(base)
    theirs, _ = ask_comfyui(
        tmp_path, "unet", latents=latents, steps=steps, hidden=more["encoder_hidden_states"]
    )
    ours = base.unet(latents, steps, **more).sample
    torch.testing.assert_close(ours, theirs["predicted"], atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The demo's base with a LoRA on everything: our numbers, ComfyUI's, and what it said."""
    work_dir = tmp_path_factory.mktemp("judged")
    save_base(work_dir / "base.safetensors", demo_base())
    (work_dir / "caption.txt").write_text(CAPTION, encoding="utf-8")
    base = load_tiny(work_dir / "base.safetensors")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    latents, steps, more = inputs_for(base)
    inputs = {"latents": latents, "steps": steps, "hidden": more["encoder_hidden_states"]}
    ours = {}

    @torch.no_grad()
    def measure(kind):
        ours[f"{kind}_hidden"] = base.text.encode(base.text.tokenize([CAPTION])).hidden
        ours[f"{kind}_predicted"] = base.unet(latents, steps, **more).sample

    ours["latents"] = base.vae.encode(pixels)
    ours["decoded"] = base.vae.decode(latents)
    measure("base")
    network = add_lora(base, SETTINGS, seed=1)
    with torch.no_grad():
        for name, parameters in network.groups():
            for parameter in parameters:
                spread = 0.15 if name == "unet" else 0.03
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    measure("lora")
    save_lora(work_dir / "lora.safetensors", network.state(), dtype="float", metadata={})
    theirs, said = ask_comfyui(work_dir, "checkpoint", pixels=pixels, **inputs)
    return ours, theirs, said, len(network.modules)


def test_the_demo_base_is_a_stable_diffusion_1_for_comfyui(judged):
    assert judged[2]["model"] == "SD15"


def test_every_module_of_our_lora_is_loaded_without_a_complaint(judged):
    _, _, said, modules = judged
    assert said["complaints"] == []
    assert said["patched"] == modules


# ComfyUI computes in fp32 here, but adds the text encoder's LoRA into its fp16 weights; we keep both apart.
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("latents", 1e-5),
        ("decoded", 1e-5),
        ("base_hidden", 1e-5),
        ("base_predicted", 1e-5),
        ("lora_hidden", 0.005),
        ("lora_predicted", 1e-5),
    ],
)
def test_comfyui_computes_what_we_compute(judged, name, tolerance):
    ours, theirs, _, _ = judged
    assert ours[name].shape == theirs[name].shape
    difference = (ours[name] - theirs[name]).square().mean().sqrt() / ours[name].std()
    assert difference < tolerance


def test_the_lora_has_an_effect_far_above_that_tolerance(judged):
    ours = judged[0]
    for name in ("hidden", "predicted"):
        before, after = ours[f"base_{name}"], ours[f"lora_{name}"]
        assert (after - before).square().mean().sqrt() / before.std() > 0.1


def test_comfyui_knows_every_name_of_a_full_sdxl_lora(tmp_path):
    from tests.native.test_lora import full_size

    base = full_size(SDXL_UNET, "sdxl")
    settings = TrainingSettings(network_dim=1, network_alpha=1.0, conv_dim=1)
    names = [module.name for module in add_lora(base, settings, seed=0).modules]
    for prefix, layers in (("lora_te1", 12), ("lora_te2", 32)):
        for layer in range(layers):
            inner = ["mlp_fc1", "mlp_fc2", *(f"self_attn_{each}_proj" for each in ("q", "k", "v", "out"))]
            names += [f"{prefix}_text_model_encoder_layers_{layer}_{each}" for each in inner]
    (tmp_path / "names.json").write_text(json.dumps(names))
    (tmp_path / "shapes.json").write_text(json.dumps(unet_shapes(SDXL_UNET)))
    _, said = ask_comfyui(tmp_path, "sdxl_names")
    assert said == {"unknown": [], "targets": len(names)}
