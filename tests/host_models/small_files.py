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
T5 = {"t5xxl_model_config": {"d_model": 96, "d_ff": 64, "d_kv": 24, "num_heads": 4, "num_layers": 2}}
CLIP_L = {
    "clip_l_model_config": {
        "hidden_size": 48,
        "projection_dim": 48,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
    }
}


def _llama(name: str, **sizes: int) -> dict:
    return {key: {**LLAMA, **sizes} for key in ("_model_config", f"{name}_model_config")}


ENCODERS = {
    "zimage": (
        "z_image",
        "ZImageTokenizer",
        "te",
        {},
        _llama("qwen3_4b"),
    ),
    "hidream": (
        "hidream",
        "HiDreamTokenizer",
        "hidream_clip",
        {"clip_l": False, "clip_g": False, "t5": False},
        _llama("llama"),
    ),
    "flux": ("flux", "FluxTokenizer", "flux_clip", {}, {**T5, **CLIP_L}),
    "chroma": ("pixart_t5", "PixArtTokenizer", "pixart_te", {}, T5),
    "sd3": ("sd3_clip", "SD3Tokenizer", "sd3_clip", {"clip_l": False, "clip_g": False}, T5),
    "krea2": ("z_image", "ZImageTokenizer", "te", {}, _llama("qwen3_4b", hidden_size=240)),
    "anima": ("anima", "AnimaTokenizer", "te", {}, _llama("qwen3_06b", hidden_size=1024)),
}
"""Family to module, tokenizer, encoder with what it is made of, and the options that make it small; the first serves the others, whose
own can't be made small (a vision tower of a fixed size, a tokenizer that comes with the weights)."""
MARK = "reduced_family"


def write_diffusion_model(file: Path, family: str, *, dtype=None, seed: int = 0, beside=None) -> Path:
    """Random weights of a reduced family under the host's names; with other tensors `beside` it, a checkpoint. Runs where a host is opened."""
    import torch
    from safetensors.torch import save_file

    from . import reduced

    model = reduced.make(family, seed=seed)
    state = {
        k: v.to(dtype or torch.float32).contiguous() for k, v in model.diffusion_model.state_dict().items()
    }
    if beside:
        state = {f"model.diffusion_model.{name}": tensor for name, tensor in state.items()} | beside
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


def write_vae(file: Path, family: str) -> Path:
    """The smallest autoencoder of the family's latents that the host knows by its tensors, with random weights."""
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(vae_state(family), file)
    return file


def vae_state(family: str) -> dict:
    """TAESD's tensors; Wan's for latents with frames; for FLUX.2's, a whole one whose latents are normalised by running statistics."""
    import torch

    from . import reduced

    shape = reduced.FAMILIES[family][2]
    autoencoder = _with_frames() if len(shape) == 4 else _packed() if shape[0] == 128 else _tiny(shape[0])
    reduced.fill(autoencoder, seed=4)
    for name, buffer in autoencoder.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(1.0)
    tensors = autoencoder.state_dict().items()
    return {name: tensor.contiguous() for name, tensor in tensors if torch.is_tensor(tensor)}


def _tiny(channels: int):
    from comfy.taesd.taesd import TAESD

    return TAESD(latent_channels=channels)


def _with_frames():
    from comfy.ldm.wan.vae import WanVAE

    return WanVAE(dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[], temperal_downsample=[False, True, True])  # fmt: skip


def _packed():
    from comfy.ldm.models.autoencoder import AutoencoderKL

    sizes = {
        "z_channels": 32,
        "ch": 128,
        "ch_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_resolutions": [],
    }
    rest = {"double_z": True, "resolution": 256, "in_channels": 3, "out_ch": 3, "dropout": 0.0}
    return AutoencoderKL(ddconfig={**sizes, **rest, "batch_norm_latent": True}, embed_dim=32)


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
