"""The shape of the demo base's U-Net, and the part of it that comes from a seed.

Two levels of width 320 with text attention only at the coarse one: as small as ComfyUI recognises as Stable Diffusion 1.x and
still able to compose a picture. The time embedding is a fixed random map, so that its two million weights need no storing.
"""

from __future__ import annotations

from kohya_bridge.models.base_models import UNET_PREFIX
from kohya_bridge.models.unet_shape import UNetShape
from scripts.make_demo_base import Tensors, uniform

BASE_UNET = UNetShape(
    in_channels=4, out_channels=4, channels=(320, 320), res_blocks=(1, 1), down_depths=((0,), (1,)),
    up_depths=((1, 1), (0, 0)), middle_depth=None, context_dim=768, linear_projection=False, vector_dim=None,
)  # fmt: skip
TIME = "time_embed."
LEFT_OUT = ("down_blocks.0.resnets.0", "up_blocks.1.resnets.0")
"""Residual blocks at full size (diffusers' names) that cost most of the time: without weights they hand their input on."""


def seeded_time(seed: int = 0, *, width: int = BASE_UNET.channels[0]) -> Tensors:
    """The time embedding under LDM names, of a U-Net of that width: sines and cosines of the timestep, mixed twice."""
    wide = 4 * width
    shapes = {"0.weight": (wide, width), "2.weight": (wide, wide), "0.bias": (wide,), "2.bias": (wide,)}
    return {
        f"{UNET_PREFIX}{TIME}{name}": uniform(
            f"time/{name}", shape, seed, spread=1.4 / float(shape[-1]) ** 0.5 if len(shape) == 2 else 0.1
        )
        for name, shape in shapes.items()
    }
