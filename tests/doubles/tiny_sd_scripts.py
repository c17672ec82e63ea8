"""The real sd-scripts with a Stable Diffusion 1.5 of 5 million parameters: real trainings in seconds, on a CPU.

    python tiny_sd_scripts.py make FILE    builds the base model
    python tiny_sd_scripts.py RUN_DIR      trains a run folder under the real runner

Only size constants are changed, in memory, before upstream builds anything. $KOHYA_SD_SCRIPTS names the checkout.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["KOHYA_SD_SCRIPTS"])

from kohya_bridge.engines.kohya.upstream import make_torchvision_importable

make_torchvision_importable()

import library.model_util as model_util  # noqa: E402
import library.original_unet as original_unet  # noqa: E402
import transformers  # noqa: E402

original_unet.BLOCK_OUT_CHANNELS = (32, 64, 64, 64)
original_unet.TIMESTEP_INPUT_DIM = 32
original_unet.TIME_EMBED_DIM = 128
model_util.UNET_PARAMS_MODEL_CHANNELS = 32
model_util.UNET_PARAMS_CHANNEL_MULT = [1, 2, 2, 2]
model_util.VAE_PARAMS_CH = 32
model_util.VAE_PARAMS_CH_MULT = [1, 1, 1, 1]


def small_clip(**values):
    """CLIP-L with one small layer; the width of its tokens must stay."""
    if values.get("hidden_size") == 768:
        values.update(intermediate_size=256, num_hidden_layers=1)
    return transformers.CLIPTextConfig(**values)


model_util.CLIPTextConfig = small_clip


def make(file: str) -> None:
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    unet = original_unet.UNet2DConditionModel(**model_util.create_unet_diffusers_config(False, False))
    vae = AutoencoderKL(**model_util.create_vae_diffusers_config())
    config = small_clip(
        vocab_size=49408,
        hidden_size=768,
        num_attention_heads=12,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
    )
    text_encoder = transformers.CLIPTextModel._from_config(config)
    model_util.save_stable_diffusion_checkpoint(
        False, file, text_encoder, unet, None, 0, 0, {"format": "pt"}, torch.float16, vae
    )


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        from kohya_bridge.engines.kohya.runner import main

        sys.exit(main(Path(sys.argv[1]).resolve()))
