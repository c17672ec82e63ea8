"""The base model in memory: U-Net, autoencoder and text encoders of a checkpoint, frozen, in the number format asked for.

In: a single-file checkpoint or a diffusers folder. Out: a `Base`. Built on the meta device and filled straight from the
mapped file: no fp32 detour, no initialisation that is thrown away, no network. It trains nothing and adds no LoRA.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from diffusers.models.unets.unet_2d_blocks import get_mid_block

from ...base_models import VAE_PREFIX, BaseModel, inspect_base_model
from ...errors import InvalidInput
from ...unet_shape import UNetShape
from .checkpoint import Checkpoint, State, open_checkpoint, put_weights
from .text import TextStack, load_text_stack, load_text_stack_from_folder

PARTS = ("unet", "vae", "text")
# Factors between the autoencoder's latents and the U-Net's: v1-inference.yaml and sd_xl_base.yaml of Stability AI.
LATENT_SCALE = {"sd15": 0.18215, "sdxl": 0.13025}
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
SIZE_EMBEDDINGS = 6  # SDXL's micro-conditioning: original size, crop corner and target size, two numbers each


@dataclass
class Base:
    """A loaded base model. Parts that were not asked for are None; all weights are frozen."""

    facts: BaseModel
    unet: UNet2DConditionModel | None
    vae: Autoencoder | None
    text: TextStack | None
    scheduler_config: dict[str, Any]
    """Keyword arguments of diffusers' `DDPMScheduler`: betas, prediction type, zero terminal SNR."""
    dtype: torch.dtype
    device: torch.device

    @property
    def family(self) -> str:
        return self.facts.family


@dataclass
class Autoencoder:
    """An autoencoder with the two numbers that turn its latents into the U-Net's: `(raw + shift) * scale`."""

    model: AutoencoderKL | AutoencoderTiny
    scale: float
    shift: float = 0.0

    @torch.no_grad()
    def encode(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W) in [-1, 1] to the U-Net's latents (B, 4, H/8, W/8), in fp32.

        The mode of the latent distribution, not a sample: its spread is far below the noise that training adds, and
        the same picture always gives the same latents.
        """
        parameter = next(self.model.parameters())
        encoded = self.model.encode(pixels_BCHW.to(parameter.device, parameter.dtype))
        raw = encoded.latents if isinstance(self.model, AutoencoderTiny) else encoded.latent_dist.mode()
        latents_BCHW: torch.Tensor = (raw.float() + self.shift) * self.scale
        return latents_BCHW

    @torch.no_grad()
    def decode(self, latents_BCHW: torch.Tensor) -> torch.Tensor:
        """The U-Net's latents back to pixels (B, 3, H, W) in [-1, 1], in fp32."""
        parameter = next(self.model.parameters())
        raw = latents_BCHW.to(parameter.device, torch.float32) / self.scale - self.shift
        pixels_BCHW: torch.Tensor = self.model.decode(raw.to(parameter.dtype)).sample
        return pixels_BCHW.float().clamp(-1, 1)


def encode_pictures(vae: Autoencoder, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """Pixels (B, 3, H, W) in [-1, 1] to the U-Net's scaled latents (B, 4, H/8, W/8), in fp32."""
    return vae.encode(pixels_BCHW)


def load_base(
    file: Path,
    *,
    family: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    parts: Collection[str] = PARTS,
    tokenizer_dir: Path | None = None,
    vae_dtype: torch.dtype = torch.float32,
    text_dtype: torch.dtype | None = None,
) -> Base:
    """Load `parts` ("unet", "vae", "text") of the base model in `file`.

    `family` is what the plan says; another one in the file is an error. The autoencoder stays in fp32 unless told
    otherwise: latents are made once, and half precision overflows in SDXL's. `tokenizer_dir` holds `vocab.json` and
    `merges.txt`; needed for "text" of a single file.

    Raises:
        InvalidInput, NotFound, StorageError: what is wrong with the file and what to do.
    """
    facts = inspect_base_model(Path(file))
    if family is not None and facts.family != family:
        raise InvalidInput(
            f"{facts.file.name} is a {facts.family} model, the plan says {family}.",
            "Choose the family 'auto', or the right checkpoint.",
        )
    device = torch.device(device)
    load = _load_folder if facts.is_folder else _load_single_file
    unet, vae, text = load(facts, set(parts), dtype, device, tokenizer_dir, vae_dtype, text_dtype or dtype)
    return Base(facts, unet, vae, text, scheduler_config(facts), dtype, device)


def scheduler_config(facts: BaseModel) -> dict[str, Any]:
    """Keyword arguments of `DDPMScheduler` for a base model. SD 1.x and SDXL share one schedule."""
    return {
        **SCHEDULE,
        "prediction_type": facts.prediction_type,
        "rescale_betas_zero_snr": facts.zero_terminal_snr,
        "clip_sample": False,
    }


def _load_single_file(
    facts: BaseModel,
    parts: set[str],
    dtype: torch.dtype,
    device: torch.device,
    tokenizer_dir: Path | None,
    vae_dtype: torch.dtype,
    text_dtype: torch.dtype,
) -> tuple[UNet2DConditionModel | None, Autoencoder | None, TextStack | None]:
    assert facts.unet is not None
    with open_checkpoint(facts.file, device=device) as checkpoint:
        unet = vae = text = None
        if "unet" in parts:
            unet = build_unet(facts.unet, facts.family)
            put_weights(unet, checkpoint.unet_state(facts.unet, dtype), what="U-Net")
        if "vae" in parts:
            vae = _load_vae(checkpoint, facts.family, vae_dtype)
        if "text" in parts:
            text = load_text_stack(checkpoint, facts.family, text_dtype, tokenizer_dir)
    return unet, vae, text


def _load_folder(
    facts: BaseModel,
    parts: set[str],
    dtype: torch.dtype,
    device: torch.device,
    tokenizer_dir: Path | None,
    vae_dtype: torch.dtype,
    text_dtype: torch.dtype,
) -> tuple[UNet2DConditionModel | None, Autoencoder | None, TextStack | None]:
    options = {"local_files_only": True, "use_safetensors": True}
    unet = vae = text = None
    try:
        if "unet" in parts:
            unet = UNet2DConditionModel.from_pretrained(facts.file / "unet", torch_dtype=dtype, **options)
            unet.to(device).requires_grad_(False)
        if "vae" in parts:
            tiny = "AutoencoderTiny" in (facts.file / "vae" / "config.json").read_text("utf-8")
            kind = AutoencoderTiny if tiny else AutoencoderKL
            model = kind.from_pretrained(facts.file / "vae", torch_dtype=vae_dtype, **options)
            model.to(device).requires_grad_(False)
            vae = Autoencoder(model, float(model.config.scaling_factor))
        if "text" in parts:
            text = load_text_stack_from_folder(facts.file, facts.family, text_dtype, device, tokenizer_dir)
    except (OSError, ValueError) as error:  # how diffusers and transformers report damaged or pickled folders
        raise InvalidInput(
            f"The model folder {facts.file.name} can't be loaded: {str(error).splitlines()[0][:300]}",
            "It must hold .safetensors weights; download it again.",
        ) from error
    return unet, vae, text


def build_unet(shape: UNetShape, family: str) -> UNet2DConditionModel:
    """An empty U-Net of this shape on the meta device."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_config(shape, family))
        _fit_middle(unet, shape)
    for block, depths in [*zip(unet.down_blocks, shape.down_depths, strict=True),
                          *zip(unet.up_blocks, shape.up_depths, strict=True)]:  # fmt: skip
        for number, depth in enumerate(depths):
            if any(depths) and not depth:
                block.attentions[number] = NoAttention()
    return unet


def unet_config(shape: UNetShape, family: str) -> dict[str, Any]:
    """The configuration of diffusers' `UNet2DConditionModel` for this shape.

    Heads can't be read from tensors: SD 1.x has eight at every level, SDXL one for every 64 channels.
    """
    last_depths = [depth for depth in shape.down_depths[-1] if depth]
    down = [tuple(max(depth, 1) for depth in depths) for depths in shape.down_depths]
    if not last_depths and shape.middle_depth:
        down[-1] = (shape.middle_depth,) * len(
            down[-1]
        )  # diffusers reads the middle's depth from the last level
    config: dict[str, Any] = {
        "sample_size": 64 if family == "sd15" else 128,
        "in_channels": shape.in_channels,
        "out_channels": shape.out_channels,
        "block_out_channels": shape.channels,
        # one number where it is the same at every level: diffusers' own single-file loader wants it so
        "layers_per_block": shape.res_blocks[0] if len(set(shape.res_blocks)) == 1 else shape.res_blocks,
        "down_block_types": tuple(
            "CrossAttnDownBlock2D" if any(depths) else "DownBlock2D" for depths in shape.down_depths
        ),
        "up_block_types": tuple(
            "CrossAttnUpBlock2D" if any(depths) else "UpBlock2D" for depths in shape.up_depths
        ),
        "mid_block_type": {None: None, 0: "UNetMidBlock2D"}.get(
            shape.middle_depth, "UNetMidBlock2DCrossAttn"
        ),
        "transformer_layers_per_block": tuple(down),
        "reverse_transformer_layers_per_block": tuple(
            tuple(max(depth, 1) for depth in depths) for depths in shape.up_depths
        ),
        "cross_attention_dim": shape.context_dim,
        "attention_head_dim": 8
        if family == "sd15"
        else tuple(max(1, width // 64) for width in shape.channels),
        "use_linear_projection": shape.linear_projection,
    }
    if shape.vector_dim is not None:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": shape.vector_dim,
        }
    return config


class NoAttention(torch.nn.Module):
    """Stands where a level attends after some of its residual blocks but not after this one (SSD-1B's way up)."""

    def forward(self, hidden_states: torch.Tensor, **_ignored: Any) -> tuple[torch.Tensor]:
        return (hidden_states,)


def _fit_middle(unet: UNet2DConditionModel, shape: UNetShape) -> None:
    """Rebuild the middle block where its depth differs from the last level's, which diffusers can't configure."""
    built = unet.mid_block
    if not shape.middle_depth or len(built.attentions[0].transformer_blocks) == shape.middle_depth:
        return
    config = unet.config
    heads = config.attention_head_dim
    unet.mid_block = get_mid_block(
        "UNetMidBlock2DCrossAttn",
        temb_channels=unet.time_embedding.linear_2.out_features,
        in_channels=shape.channels[-1],
        resnet_eps=config.norm_eps,
        resnet_act_fn=config.act_fn,
        resnet_groups=config.norm_num_groups,
        transformer_layers_per_block=shape.middle_depth,
        num_attention_heads=heads if isinstance(heads, int) else heads[-1],
        cross_attention_dim=shape.context_dim,
        use_linear_projection=shape.linear_projection,
    )


def _load_vae(checkpoint: Checkpoint, family: str, dtype: torch.dtype) -> Autoencoder:
    names = checkpoint.names(VAE_PREFIX)
    scale = LATENT_SCALE[family]
    if any(name.startswith("taesd_") for name in names):
        with torch.device("meta"):
            tiny = AutoencoderTiny()
        put_weights(tiny, checkpoint.taesd_state(dtype), what="tiny autoencoder")
        # ComfyUI's TAESD (comfy/taesd/taesd.py) hands out `encoded / vae_scale + vae_shift` and the sampler multiplies
        # by the family's factor; trained TAESDs already emit the U-Net's latents, so the two usually cancel out.
        own_scale = checkpoint.number(f"{VAE_PREFIX}vae_scale", 1.0)
        own_shift = checkpoint.number(f"{VAE_PREFIX}vae_shift", 0.0)
        return Autoencoder(tiny, scale / own_scale, own_shift * own_scale)
    state = checkpoint.vae_state(dtype)
    with torch.device("meta"):
        model = AutoencoderKL(**vae_config(state, scale))
    put_weights(model, state, what="autoencoder")
    return Autoencoder(model, scale)


def vae_config(state: State, scale: float) -> dict[str, Any]:
    """The configuration of diffusers' `AutoencoderKL` for weights under diffusers names. Raises InvalidInput."""
    widths: list[int] = []
    blocks = 0
    while f"encoder.down_blocks.{len(widths)}.resnets.0.conv2.weight" in state:
        widths.append(state[f"encoder.down_blocks.{len(widths)}.resnets.0.conv2.weight"].shape[0])
    while f"encoder.down_blocks.0.resnets.{blocks}.conv2.weight" in state:
        blocks += 1
    if not widths or "quant_conv.weight" not in state:
        raise InvalidInput(
            "The autoencoder (VAE) in this checkpoint has a layout that is not known here.",
            "Use a checkpoint with Stable Diffusion's own VAE, or with TAESD.",
        )
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": state["post_quant_conv.weight"].shape[0],
        "block_out_channels": tuple(widths),
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "layers_per_block": blocks,
        "scaling_factor": scale,
    }


def shape_of_unet(unet: UNet2DConditionModel) -> UNetShape:
    """The shape of a U-Net that is already built; the way back from `unet_config`, for diffusers folders too."""
    config = unet.config

    def depths(blocks: Any) -> tuple[tuple[int, ...], ...]:
        return tuple(
            tuple(
                len(getattr(attention, "transformer_blocks", ()))
                for attention in getattr(block, "attentions", [None] * len(block.resnets))
            )
            for block in blocks
        )

    middle = None
    if unet.mid_block is not None:
        attentions = getattr(unet.mid_block, "attentions", [])
        middle = len(attentions[0].transformer_blocks) if len(attentions) and attentions[0] is not None else 0
    down = depths(unet.down_blocks)
    context = config.cross_attention_dim
    return UNetShape(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        channels=tuple(config.block_out_channels),
        res_blocks=tuple(map(len, down)),
        down_depths=down,
        up_depths=depths(unet.up_blocks),
        middle_depth=middle,
        context_dim=context if isinstance(context, int) else context[0],
        linear_projection=bool(config.use_linear_projection),
        vector_dim=config.projection_class_embeddings_input_dim,
    )
