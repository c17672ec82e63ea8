"""Small U-Nets of the layouts that distilled and reduced models have, for tests against diffusers and ComfyUI."""

from kohya_bridge.models.unet_shape import UNetShape
from scripts.make_demo_base import DEMO_UNET, TINY_SD15_UNET

REDUCED = {
    "one level, no middle": UNetShape(**{**vars(DEMO_UNET), "channels": (32,), "context_dim": 64}),
    "middle of one residual block": UNetShape(**{**vars(TINY_SD15_UNET), "middle_depth": 0}),
    "middle deeper than its level": UNetShape(
        **{
            **vars(TINY_SD15_UNET),
            "down_depths": ((1,), (1,)),
            "up_depths": ((1, 1), (1, 1)),
            "middle_depth": 3,
        }
    ),
    "attention in some blocks of a level": UNetShape(
        **{
            **vars(TINY_SD15_UNET),
            "res_blocks": (2, 3),
            "down_depths": ((1, 0), (0, 2, 1)),
            "up_depths": ((0, 1, 0, 2), (1, 0, 0)),
        }
    ),
}
