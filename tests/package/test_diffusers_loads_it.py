"""What was packaged loads in diffusers and changes what the U-Net predicts by what its weights say."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

from kohya_bridge.events import EventLog
from kohya_bridge.package import package_lora

from .conftest import LORA_METADATA, write_checkpoint

pytestmark = pytest.mark.torch

RANK, ALPHA = 4, 2.0


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=8,
        attention_head_dim=8,
    ).eval()


def attention_lora(unet, *, seed):
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, module in unet.named_modules():
        if isinstance(module, torch.nn.Linear) and "attentions" in name and ".attn" in name:
            key = "lora_unet_" + name.replace(".", "_")
            tensors[f"{key}.lora_down.weight"] = rng.standard_normal((RANK, module.in_features)).astype(
                np.float32
            )
            tensors[f"{key}.lora_up.weight"] = 0.1 * rng.standard_normal((module.out_features, RANK)).astype(
                np.float32
            )
            tensors[f"{key}.alpha"] = np.array(ALPHA, dtype=np.float32)
    return tensors


@torch.no_grad()
def predict(unet):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    text = torch.randn(1, 5, 32, generator=generator)
    return unet(latents, 500, text).sample


def test_load_lora_weights_takes_the_packaged_file_and_applies_alpha_over_rank(finished, unet):
    tensors = attention_lora(unet, seed=3)
    log = EventLog(finished.run.events_file)
    write_checkpoint(finished.run, log, 900, tensors, LORA_METADATA)
    log.close()
    made = package_lora(finished.run, 900, lora_dir=finished.lora_dir)
    plain = predict(unet)

    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4),
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.load_lora_weights(made.file.parent, weight_name=made.file.name)
    loaded = predict(unet)
    pipeline.unload_lora_weights()
    assert torch.allclose(predict(unet), plain)

    with torch.no_grad():
        for name, module in unet.named_modules():
            key = "lora_unet_" + name.replace(".", "_")
            if f"{key}.alpha" in tensors:
                update = tensors[f"{key}.lora_up.weight"] @ tensors[f"{key}.lora_down.weight"]
                module.weight += torch.from_numpy(update) * (ALPHA / RANK)
    assert (loaded - plain).abs().max() > 0.01
    assert torch.allclose(loaded, predict(unet), atol=1e-4)
