"""The U-Net of any layout, as diffusers' `UNet2DConditionModel`.

In: a `UNetShape`. Out: an empty U-Net on the meta device, to be filled by `checkpoint.put_weights`; and the way back, the shape
of a U-Net that is there. Distilled layouts that diffusers' configuration can't say are built and then adjusted.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.unets.unet_2d_blocks import get_mid_block

from ....architectures import architecture
from ....architectures.base import diffusers_facts
from ....models.unet_shape import UNetShape


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

    Heads can't be read from tensors: the family tells them.
    """
    facts = diffusers_facts(architecture(family))
    last_depths = [depth for depth in shape.down_depths[-1] if depth]
    down = [tuple(max(depth, 1) for depth in depths) for depths in shape.down_depths]
    if not last_depths and shape.middle_depth:
        down[-1] = (shape.middle_depth,) * len(
            down[-1]
        )  # diffusers reads the middle's depth from the last level
    config: dict[str, Any] = {
        "sample_size": facts.sample_size,
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
        "attention_head_dim": facts.heads or tuple(max(1, width // 64) for width in shape.channels),
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
