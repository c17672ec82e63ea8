"""Small base models for tests: made of a seed in LDM layout, and the same as a diffusers folder."""

from __future__ import annotations

from pathlib import Path

from scripts.make_demo_base import Tensors, save_base, tiny_sd15, tiny_sdxl
from tests.native_world import tokenizer_dir

MAKERS = {"sd15": tiny_sd15, "sdxl": tiny_sdxl}


def make_tiny_base(folder: Path, family: str, **options) -> Path:
    """A single-file checkpoint of that family with seeded fp16 weights."""
    return save_base(folder / f"tiny-{family}.safetensors", MAKERS[family](**options))


def save_fp32(folder: Path, name: str, tensors: Tensors) -> Path:
    import numpy as np

    return save_base(folder / f"{name}.safetensors", tensors, dtype=np.float32)


def load_tiny(file: Path, **options):
    """The base in fp32 with its tokenizer."""
    from kohya_bridge.engines.native.diffusers_side.models import load_base

    return load_base(file, tokenizer_dir=tokenizer_dir(), **options)


def inputs_for(base, *, batch: int = 2, size: int = 8, seed: int = 0):
    """`(noisy latents, timesteps, keyword arguments)` that the U-Net of this base takes."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    shape = base.facts.unet
    latents = torch.randn(batch, 4, size, size, generator=generator)
    hidden = torch.randn(batch, 77, shape.context_dim, generator=generator)
    more = {}
    if shape.vector_dim:
        pooled = torch.randn(batch, shape.vector_dim - 6 * 256, generator=generator)
        times = torch.tensor([[64.0, 64, 0, 0, 64, 64]] * batch)
        more["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": times}
    return latents, torch.tensor([10, 900][:batch]), {"encoder_hidden_states": hidden, **more}


def write_diffusers_configs(base, folder: Path) -> Path:
    """The configuration files that diffusers' `from_single_file` wants beside a checkpoint, from a loaded base."""
    import json
    import shutil

    sdxl = base.family == "sdxl"
    clip = ["transformers", "CLIPTextModel"]
    index = {
        "_class_name": "StableDiffusionXLPipeline" if sdxl else "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": clip,
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if sdxl:
        index |= {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "force_zeros_for_empty_prompt": True,
        }
    else:
        index |= {
            "safety_checker": [None, None],
            "feature_extractor": [None, None],
            "requires_safety_checker": False,
        }
    (folder / "scheduler").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(index))
    scheduler = {"_class_name": "DDIMScheduler", "steps_offset": 1, **base.scheduler_config}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    base.unet.save_config(folder / "unet")
    base.vae.model.save_config(folder / "vae")
    for number, encoder in enumerate(base.text.encoders):
        suffix = "_2" if number else ""
        encoder.config.save_pretrained(folder / f"text_encoder{suffix}")
        tokenizer = folder / f"tokenizer{suffix}"
        shutil.copytree(tokenizer_dir(), tokenizer)
        config = json.loads((tokenizer / "tokenizer_config.json").read_text())
        config["model_max_length"] = 77
        if number:
            config["pad_token"] = "!"
            (tokenizer / "special_tokens_map.json").write_text(json.dumps({"pad_token": "!"}))
        (tokenizer / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
