"""Model files of reduced families, and how a ComfyUI in a test is taught to build what is in them.

In: a family. Out: a diffusion model, a text encoder and a VAE as files. Everything in them is the host's own classes; only the
sizes are not those that its detection assumes.
"""

from __future__ import annotations

import json
from pathlib import Path

LLAMA = {
    "hidden_size": 96,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
ENCODERS = {
    "zimage": (
        "z_image",
        "ZImageTokenizer",
        "te",
        {},
        {"_model_config": LLAMA, "qwen3_4b_model_config": LLAMA},
    ),
    "hidream": (
        "hidream",
        "HiDreamTokenizer",
        "hidream_clip",
        {"clip_l": False, "clip_g": False, "t5": False},
        {"_model_config": LLAMA, "llama_model_config": LLAMA},
    ),
}
"""Family to module, tokenizer, encoder with what it is made of, and the options that make it small; the first serves the others."""
MARK = "reduced_family"


def write_diffusion_model(file: Path, family: str, *, dtype=None, seed: int = 0) -> Path:
    """Random weights of a reduced family under the host's names. Runs where a host is opened."""
    import torch
    from safetensors.torch import save_file

    from . import reduced

    model = reduced.make(family, seed=seed)
    state = {
        k: v.to(dtype or torch.float32).contiguous() for k, v in model.diffusion_model.state_dict().items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, file, metadata={MARK: family})
    return file


def write_text_encoder(file: Path, family: str) -> Path:
    """A file that stands for the reduced encoder: its weights are drawn from a seed when it is loaded."""
    import torch
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"seed": torch.zeros(1)}, file, metadata={MARK: family})
    return file


def write_vae(file: Path, channels: int = 16) -> Path:
    """A tiny autoencoder (TAESD) with random weights, which the host knows by its tensors."""
    import torch
    from comfy.taesd.taesd import TAESD
    from safetensors.torch import save_file

    from . import reduced

    autoencoder = TAESD(latent_channels=channels)
    reduced.fill(autoencoder, seed=4)
    state = {name: tensor for name, tensor in autoencoder.state_dict().items() if torch.is_tensor(tensor)}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    return file


def teach(reduced) -> None:
    """Have this process' host build reduced families where a file names one: its detection is told the sizes, all else is its own."""
    import comfy.model_detection as detection
    import comfy.sd as sd  # under way, where this is called at the end of its import
    import comfy.utils

    read, load_clip = comfy.utils.load_torch_file, sd.load_clip
    detect, configure = detection.detect_unet_config, detection.model_config_from_unet_config
    known: dict[str, str] = {}

    def noted(file, *given, **named):
        answer = read(file, *given, **named)
        metadata = _metadata(Path(file))
        tensors = answer[0] if isinstance(answer, tuple) else answer
        if MARK in metadata:
            known[_first(tensors)] = metadata[MARK]
        return answer

    def detected(state, prefix, *given, **named):
        family = known.get(_first(name.removeprefix(prefix) for name in state))
        return {MARK: family} if family else detect(state, prefix, *given, **named)

    def configured(unet_config, *given, **named):
        if MARK in unet_config:
            return reduced.config_of(unet_config[MARK])
        return configure(unet_config, *given, **named)

    def loaded(ckpt_paths, *given, **named):
        metadata = _metadata(Path(ckpt_paths[0]))
        return small_clip(metadata[MARK]) if MARK in metadata else load_clip(ckpt_paths, *given, **named)

    comfy.utils.load_torch_file = noted
    detection.detect_unet_config, detection.model_config_from_unet_config = detected, configured
    sd.load_clip = loaded


def _first(names) -> str:
    return min(names, default="")


def small_clip(family: str):
    """The family's own tokenizer and encoder class, with few layers and seeded weights."""
    import importlib
    import types

    import comfy.sd
    import torch

    module, tokenizer, encoder, made_of, options = ENCODERS.get(family, ENCODERS["zimage"])
    home = importlib.import_module(f"comfy.text_encoders.{module}")
    made = getattr(home, encoder)(**made_of)
    target = types.SimpleNamespace(clip=made, tokenizer=getattr(home, tokenizer), params={})
    clip = comfy.sd.CLIP(target, tokenizer_data={}, model_options=dict(options))
    draw = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for parameter in clip.cond_stage_model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return clip


def _metadata(file: Path) -> dict[str, str]:
    if file.suffix != ".safetensors":
        return {}
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return header.get("__metadata__", {})
