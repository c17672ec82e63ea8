"""Make a reduced base model out of a seed: what the demo and the tests train on where no real checkpoint is at hand.

    python scripts/make_demo_base.py FILE [--kind demo|demo-sdxl|tiny-sd15|tiny-sdxl] [--seed 0]

`demo` is a Stable Diffusion 1.5 that real ComfyUI detects and samples: width 320, one level, full CLIP-L, an embedded
TAESD. It has learnt nothing, but it is no noise machine either: its autoencoder is built by hand (8x8 averages, smoothly
enlarged) and its U-Net passes its input through, so that it predicts "all is noise" and a LoRA has something to correct.
The tiny ones are for unit tests with diffusers alone. Bytes are the same on every machine: Philox bits, exact arithmetic.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kohya_bridge.models.base_models import UNET_PREFIX, VAE_PREFIX
from kohya_bridge.models.unet_shape import UNetShape
from scripts.base_layouts import (
    Shapes,
    clip_g_shapes,
    clip_l_shapes,
    taesd_shapes,
    unet_shapes,
    vae_shapes,
)

Tensors = dict[str, np.ndarray]

DEMO_UNET = UNetShape(
    in_channels=4, out_channels=4, channels=(320,), res_blocks=(1,), down_depths=((1,),), up_depths=((0, 1),),
    middle_depth=None, context_dim=768, linear_projection=False, vector_dim=None,
)  # fmt: skip
# The depths of Segmind Vega, the smallest SDXL that ComfyUI tells by its shape; all levels as narrow as the first.
DEMO_SDXL_UNET = UNetShape(
    in_channels=4, out_channels=4, channels=(320, 320, 320), res_blocks=(2, 2, 2), down_depths=((0, 0), (1, 1), (2, 2)),
    up_depths=((2, 2, 2), (1, 1, 1), (0, 0, 0)), middle_depth=2, context_dim=2048, linear_projection=True,
    vector_dim=2816,
)  # fmt: skip
TINY_SD15_UNET = UNetShape(
    in_channels=4, out_channels=4, channels=(32, 64), res_blocks=(1, 1), down_depths=((1,), (0,)),
    up_depths=((0, 0), (1, 1)), middle_depth=1, context_dim=64, linear_projection=False, vector_dim=None,
)  # fmt: skip
TINY_SDXL_UNET = UNetShape(
    in_channels=4, out_channels=4, channels=(32, 64), res_blocks=(1, 1), down_depths=((0,), (2,)),
    up_depths=((2, 2), (0, 0)), middle_depth=2, context_dim=64 + 128, linear_projection=True,
    vector_dim=128 + 6 * 256,
)  # fmt: skip


def demo_base(seed: int = 0) -> Tensors:
    """The demo's Stable Diffusion 1.5: about 148 million numbers, 296 MB in fp16."""
    shapes = unet_shapes(DEMO_UNET) | clip_l_shapes("sd15")
    tensors = random_weights(shapes, seed)
    _pass_through(tensors, DEMO_UNET)
    return tensors | averaging_taesd()


def demo_sdxl(seed: int = 0) -> Tensors:
    """An SDXL that ComfyUI loads: about 900 million numbers, 1.8 GB in fp16.

    ComfyUI builds both text encoders in full size whatever the file holds, so the second one is whole, but all zeros: it
    says the same of every prompt, and the first one tells them apart.
    """
    tensors = random_weights(unet_shapes(DEMO_SDXL_UNET) | clip_l_shapes("sdxl"), seed)
    silent = {name: np.zeros(shape, np.float16) for name, shape in clip_g_shapes().items()}
    return tensors | silent | averaging_taesd()


def tiny_sd15(seed: int = 0, *, unet: UNetShape = TINY_SD15_UNET, taesd: bool = False) -> Tensors:
    """SD 1.5's layout, far too small for ComfyUI: U-Net of width 32, CLIP of two layers, small autoencoder."""
    vae = taesd_shapes() if taesd else vae_shapes(widths=(32, 32, 32, 32), blocks=1)
    clip = clip_l_shapes("sd15", width=unet.context_dim or 64, layers=2)
    return random_weights(unet_shapes(unet) | clip | vae, seed)


def tiny_sdxl(seed: int = 0, *, unet: UNetShape = TINY_SDXL_UNET) -> Tensors:
    """SDXL's layout with both text encoders, of different widths."""
    shapes = unet_shapes(unet) | vae_shapes(widths=(32, 32, 32, 32), blocks=1)
    shapes |= clip_l_shapes("sdxl", width=64, layers=2) | clip_g_shapes(width=128, layers=2)
    return random_weights(shapes, seed)


KINDS = {"demo": demo_base, "demo-sdxl": demo_sdxl, "tiny-sd15": tiny_sd15, "tiny-sdxl": tiny_sdxl}


def save_base(file: Path, tensors: Tensors, *, dtype: type = np.float16) -> Path:
    """Write tensors as a checkpoint; complete or not at all."""
    part = file.with_name(file.name + ".part")
    save_file({name: tensor.astype(dtype) for name, tensor in tensors.items()}, part)
    part.replace(file)
    return file


def random_weights(shapes: Shapes, seed: int) -> Tensors:
    """Weights with the usual spread: gain over root of fan-in for matrices, ones for norms, zeros for biases."""
    return {name: _random(name, shape, seed) for name, shape in shapes.items()}


def _random(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    if name.endswith(("vae_scale", "vae_shift")):
        return np.array(0.18215 if name.endswith("scale") else 0.0, np.float32)
    if len(shape) == 0:
        return np.array(4.6052, np.float32)  # open_clip's logit_scale, log(100)
    if len(shape) == 1:
        # a weight of one dimension is a norm's
        return np.ones(shape, np.float32) if name.endswith("weight") else np.zeros(shape, np.float32)
    if "embedding" in name:
        return uniform(name, shape, seed, spread=0.02)
    return uniform(name, shape, seed, spread=0.6 / float(np.sqrt(np.prod(shape[1:]))))


def uniform(name: str, shape: tuple[int, ...], seed: int, *, spread: float) -> np.ndarray:
    """Even numbers with standard deviation `spread`, of a stream of their own for each name."""
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16]
    count = int(np.prod(shape))
    raw = np.random.Philox(key=np.frombuffer(key, "<u8")).random_raw(-(-count // 2))
    steps = raw.astype("<u8").view("<u4")[:count] >> 8  # 24 bits: exact in float32
    even = steps.astype(np.float32) * np.float32(2**-23) - np.float32(1)
    return (even * np.float32(spread * 3**0.5)).reshape(shape)


def _pass_through(tensors: Tensors, shape: UNetShape) -> None:
    """Make the U-Net hand its input on to its output.

    The stream carries each latent channel with both signs; `silu(x) - silu(-x) = x` undoes the last activation exactly.
    """
    width = shape.channels[0]
    channel = np.arange(width) % 4
    sign = np.where(np.arange(width) // 4 % 2 == 0, 1.0, -1.0).astype(np.float32)
    first = tensors[f"{UNET_PREFIX}input_blocks.0.0.weight"]
    first[:] *= 0.3
    first[np.arange(width), channel, 1, 1] += sign
    last = tensors[f"{UNET_PREFIX}out.2.weight"]
    last[:] *= 0.1
    last[channel, np.arange(width), 1, 1] += sign * (8 / width)
    for name in tensors:
        if name.endswith(("out_layers.3.weight", "proj_out.weight")):
            tensors[name][:] *= 0.5
        if name.endswith("skip_connection.weight"):
            tensors[name][:] *= 0.3
            tensors[name][np.arange(width), np.arange(width), 0, 0] += 1.0


def averaging_taesd() -> Tensors:
    """A TAESD made by hand: latents are linear in the colours of 8x8 blocks, decoding enlarges them smoothly."""
    tensors = {name: np.zeros(shape, np.float32) for name, shape in taesd_shapes().items()}
    tensors[f"{VAE_PREFIX}vae_scale"] = np.array(0.18215, np.float32)

    def weight(name: str) -> np.ndarray:
        return tensors[f"{VAE_PREFIX}{name}.weight"]

    def bias(name: str) -> np.ndarray:
        return tensors[f"{VAE_PREFIX}{name}.bias"]

    rgb = np.arange(3)
    # red, green, blue in [-0.5, 0.5] to four latents of about unit spread: lightness twice, and two colour differences
    mix = np.array([[1.1, 1.1, 1.1], [1.8, -1.8, 0], [-0.9, -0.9, 1.8], [0.4, 1.4, 0.4]], np.float32)
    weight("taesd_encoder.0")[rgb, rgb, 1, 1] = 1
    for layer in (2, 6, 10):  # 2x2 means; residual blocks of zeros hand positive values on
        weight(f"taesd_encoder.{layer}")[rgb, rgb, 1:, 1:] = 0.25
    weight("taesd_encoder.14")[:, :3, 1, 1] = mix
    bias("taesd_encoder.14")[:] = -0.5 * mix.sum(axis=1)
    # the pseudo-inverse of `mix`, 6 % stronger for what the decoder's clamp takes away; written out, because linear
    # algebra libraries differ in the last digit
    back = np.array(
        [
            [0.2489, 0.3246, -0.1762, 0.1084],
            [0.1788, -0.2351, -0.1567, 0.2136],
            [0.2606, 0.0253, 0.4094, 0.0909],
        ],
        np.float32,
    )
    weight("taesd_decoder.1")[:3, :, 1, 1] = back  # what is above grey ...
    weight("taesd_decoder.1")[3:6, :, 1, 1] = -back  # ... and below it, both as positive numbers
    both = np.arange(6)
    smooth = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25]).astype(np.float32)
    for layer in (7, 12, 17):
        weight(f"taesd_decoder.{layer}")[both, both] = smooth
    weight("taesd_decoder.19")[rgb, rgb, 1, 1] = 1
    weight("taesd_decoder.19")[rgb, rgb + 3, 1, 1] = -1
    bias("taesd_decoder.19")[:] = 0.5
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--kind", choices=KINDS, default="demo")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    chosen.file.parent.mkdir(parents=True, exist_ok=True)
    file = save_base(chosen.file, KINDS[chosen.kind](chosen.seed))
    print(f"{file}: {file.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
