"""A Stable Diffusion 1.5 of full size with random weights, in sd-scripts' own layout: `python full_sd15.py FILE`.

Run it with sd-scripts' interpreter; $KOHYA_SD_SCRIPTS names the checkout.
"""

import os
import sys

sys.path.insert(0, os.environ["KOHYA_SD_SCRIPTS"])

from kohya_bridge.engines.kohya.upstream import make_torchvision_importable

make_torchvision_importable()

import torch  # noqa: E402
from diffusers import AutoencoderKL  # noqa: E402
from library import model_util  # noqa: E402
from library.original_unet import UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

torch.manual_seed(0)
unet = UNet2DConditionModel(**model_util.create_unet_diffusers_config(False, False))
vae = AutoencoderKL(**model_util.create_vae_diffusers_config())
text_encoder = CLIPTextModel._from_config(
    CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=768,
    )
)  # fmt: skip
model_util.save_stable_diffusion_checkpoint(
    False, sys.argv[1], text_encoder, unet, None, 0, 0, {"format": "pt"}, torch.float16, vae
)
