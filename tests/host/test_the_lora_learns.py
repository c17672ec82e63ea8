"""The LoRA learns, by two witnesses: the diffusers forward, and ComfyUI's own model with the LoRA loaded. They agree."""

import json
import subprocess
import sys

import numpy as np
import pytest

from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.held_out_split import held_out_names, probe_names
from scripts.host.comfy_install import ROOT, find_comfyui
from tests.host.canvas import BASE_MODEL

pytestmark = pytest.mark.host

TIMESTEPS = (100, 300, 500, 700, 900)


@pytest.fixture(scope="module")
def witnesses(comfy, job, tmp_path_factory):
    """Losses of every row by both witnesses, and which rows are held-out pictures."""
    torch = pytest.importorskip("torch")
    from kohya_bridge.engines.native.diffusers_side.models import load_base

    base_file = comfy.checkpoints_dir / BASE_MODEL
    base = load_base(
        base_file, dtype=torch.float32, tokenizer_dir=find_comfyui().dir / "comfy" / "sd1_tokenizer"
    )
    rows = probe(base, job)
    probe_file = tmp_path_factory.mktemp("probe") / "probe.npz"
    np.savez(probe_file, **{key: value for key, value in rows.items() if key != "is_held_out_N"})
    lora_file = job.run.dir / job.run.checkpoint("best")["file"]
    comfys = comfy_losses(base_file, lora_file, probe_file)
    diffusers = {"base": diffusers_losses(base, rows)}
    wear(base, lora_file, job.run.plan().settings)
    diffusers["lora"] = diffusers_losses(base, rows)
    return {
        "is_held_out": rows["is_held_out_N"],
        "comfy": {name: np.array(values) for name, values in comfys.items()},
        "diffusers": {name: np.array(values) for name, values in diffusers.items()},
    }


def probe(base, job):
    """Latents, fixed noise and captions of the held-out pictures and as many trained ones, at each timestep."""
    import torch
    from PIL import Image

    plan = job.run.plan()
    dataset = read_dataset(job.run.dir.parents[2] / "kohya" / "datasets" / "wren")
    names = [item.name for item in dataset.items]
    settings = plan.settings
    apart = held_out_names(names, share=settings.validation_split, seed=settings.validation_seed)
    trained = probe_names(names, apart, seed=settings.validation_seed)
    rows = {key: [] for key in ("latents_NCHW", "noise_NCHW", "timesteps_N", "captions_N", "is_held_out_N")}
    generator = torch.Generator().manual_seed(7)
    for item in dataset.items:
        if item.name not in apart and item.name not in trained:
            continue
        pixels = (
            np.asarray(Image.open(item.file).convert("RGB").resize((64, 64)), dtype=np.float32) / 127.5 - 1
        )
        latents = base.vae.encode(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
        for timestep in TIMESTEPS:
            rows["latents_NCHW"].append(latents.numpy())
            rows["noise_NCHW"].append(torch.randn(latents.shape, generator=generator).numpy())
            rows["timesteps_N"].append(timestep)
            rows["captions_N"].append(item.caption)
            rows["is_held_out_N"].append(item.name in apart)
    return {key: np.array(values) for key, values in rows.items()}


def diffusers_losses(base, rows):
    """Mean squared error of the predicted noise for each row, by diffusers' U-Net and scheduler."""
    import torch
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(**base.scheduler_config)
    found = []
    with torch.inference_mode():
        for latents, noise, timestep, caption in zip(
            rows["latents_NCHW"], rows["noise_NCHW"], rows["timesteps_N"], rows["captions_N"], strict=True
        ):
            x0, epsilon, when = (
                torch.from_numpy(latents)[None],
                torch.from_numpy(noise)[None],
                torch.tensor([timestep]),
            )
            hidden = base.text.encode(base.text.tokenize([str(caption)])).hidden
            noisy = scheduler.add_noise(x0, epsilon, when)
            predicted = base.unet(noisy, when, encoder_hidden_states=hidden.float()).sample
            found.append(float(((predicted - epsilon) ** 2).mean()))
    return found


def wear(base, lora_file, settings):
    from kohya_bridge.engines.training.lora import add_lora
    from kohya_bridge.engines.training.lora_file import read_lora

    network = add_lora(base, settings, seed=settings.seed)
    network.load({name: tensor.float() for name, tensor in read_lora(lora_file)[0].items()})


def comfy_losses(base_file, lora_file, probe_file):
    install = find_comfyui()
    script = ROOT / "tests" / "host" / "comfy_loss.py"
    arguments = [install.dir, str(install.torchvision_dir or ""), ROOT, base_file, lora_file, probe_file]
    answer = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


def test_both_witnesses_measure_the_same_losses(witnesses):
    for name in ("base", "lora"):
        np.testing.assert_allclose(witnesses["comfy"][name], witnesses["diffusers"][name], rtol=0.02)


@pytest.mark.parametrize("witness", ["comfy", "diffusers"])
@pytest.mark.parametrize("part", ["held-out", "trained"])
def test_the_loss_falls_clearly_below_the_untrained_models(witnesses, witness, part):
    rows = witnesses["is_held_out"] == (part == "held-out")
    before, after = (witnesses[witness][name][rows].mean() for name in ("base", "lora"))
    print(f"{part}, {witness}: {before:.4f} untrained, {after:.4f} with the LoRA")
    assert after < 0.8 * before
