"""Put the demo's base model together: packed U-Net and autoencoder, and a text encoder from a seed.

    python -m scripts.demo_base.assemble FILE
    python -m scripts.demo_base.assemble --pack build/base      (after training: makes the packed files)

Out: a single-file Stable Diffusion 1.x checkpoint of about 300 MB that ComfyUI, diffusers and this pack's engine load. Same bytes
on every machine. Its header names the packed files by digest, so that an older one is noticed.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from kohya_bridge.engines.native.diffusers_side.ldm_keys import taesd_name, translate, unet_modules
from kohya_bridge.models.base_models import UNET_PREFIX, VAE_PREFIX
from kohya_bridge.models.safetensors_header import read_header
from scripts.base_layouts import Shapes, taesd_shapes, unet_shapes
from scripts.make_demo_base import Tensors

from .packed import pack, unpack
from .seeded_text import seeded_text
from .shape import BASE_UNET, TIME, seeded_time

PACKED_DIR = Path(__file__).resolve().parents[2] / "training" / "base"
UNET_FILE, VAE_FILE = PACKED_DIR / "denoiser.npz", PACKED_DIR / "autoencoder.npz"
UNET_SHARE, VAE_SHARE = 1 / 16, 1 / 24
DIGEST_KEY = "wizdroid.packed"


def base_tensors() -> Tensors:
    """Every tensor of the checkpoint. What isn't packed is zero: the blocks that training left out."""
    shapes = unet_shapes(BASE_UNET) | taesd_shapes()
    found = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    found[f"{VAE_PREFIX}vae_scale"] = np.array(0.18215, np.float32)
    return found | unpack(UNET_FILE) | unpack(VAE_FILE) | seeded_time() | seeded_text()


def packed_digest() -> str:
    return hashlib.sha256(UNET_FILE.read_bytes() + VAE_FILE.read_bytes()).hexdigest()


def assemble(file: Path) -> Path:
    """Write the checkpoint; complete or not at all."""
    part = file.with_name(file.name + ".part")
    halves = {name: np.asarray(each, np.float16) for name, each in base_tensors().items()}
    save_file(halves, part, metadata={DIGEST_KEY: packed_digest()})
    part.replace(file)
    return file


def is_current(file: Path) -> bool:
    """Whether `file` was assembled from the packed files as they are now."""
    return file.is_file() and read_header(file).metadata.get(DIGEST_KEY) == packed_digest()


def pack_trained(folder: Path) -> None:
    """Pack what training left in its folder: the running mean of the U-Net, and the autoencoder."""
    PACKED_DIR.mkdir(parents=True, exist_ok=True)
    state = load_file(folder / "denoiser.state.safetensors")
    means = {name.removeprefix("mean/"): each for name, each in state.items() if name.startswith("mean/")}
    modules = unet_modules(BASE_UNET)
    pack(UNET_FILE, _under_ldm_names(unet_shapes(BASE_UNET), UNET_PREFIX, lambda name: translate(name, modules), means), share=UNET_SHARE)  # fmt: skip
    trained = load_file(folder / "autoencoder.safetensors")
    pack(VAE_FILE, _under_ldm_names(taesd_shapes(), VAE_PREFIX, taesd_name, trained), share=VAE_SHARE)


def _under_ldm_names(shapes: Shapes, prefix: str, rename, trained: Tensors) -> Tensors:  # type: ignore[no-untyped-def]
    """The trained tensors under their names in the checkpoint; those that were left out are not among them."""
    found = {}
    for name in shapes:
        inner = name.removeprefix(prefix)
        ours = rename(inner)
        if ours in trained and not inner.startswith(TIME):
            found[name] = trained[ours].astype(np.float32)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="pack what was trained in this folder")
    chosen = parser.parse_args()
    if chosen.pack:
        pack_trained(chosen.pack)
        for file in (UNET_FILE, VAE_FILE):
            print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    if chosen.file:
        chosen.file.parent.mkdir(parents=True, exist_ok=True)
        print(f"{assemble(chosen.file)}: {chosen.file.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
