"""Names of the same tensor in two worlds: single-file checkpoints (LDM, SGM, open_clip, TAESD) and diffusers/transformers.

In: a `UNetShape` or tensor names. Out: translated names. Pure string work, no torch. `unet_modules` is also what turns
diffusers module names into the SGM names that SDXL LoRA files carry.
"""

from __future__ import annotations

from collections.abc import Iterable

from ....models.unet_shape import UNetShape

RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
FIXED = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}  # fmt: skip


def unet_modules(shape: UNetShape) -> dict[str, str]:
    """`{LDM module: diffusers module}` for every module of the U-Net that owns weights outside its transformers.

    Transformers keep their inner names in both worlds, so each stands here once, as a whole.
    """
    modules = dict(FIXED)
    _add_down(modules, shape)
    _add_middle(modules, shape)
    _add_up(modules, shape)
    return modules


def _add_resnet(modules: dict[str, str], ldm: str, diffusers: str) -> None:
    for theirs, ours in RESNET.items():
        modules[f"{ldm}.{theirs}"] = f"{diffusers}.{ours}"


def _add_down(modules: dict[str, str], shape: UNetShape) -> None:
    index = 1
    for level, depths in enumerate(shape.down_depths):
        block = f"down_blocks.{level}"
        for number, depth in enumerate(depths):
            _add_resnet(modules, f"input_blocks.{index}.0", f"{block}.resnets.{number}")
            if depth:
                modules[f"input_blocks.{index}.1"] = f"{block}.attentions.{number}"
            index += 1
        if level < shape.levels - 1:
            modules[f"input_blocks.{index}.0.op"] = f"{block}.downsamplers.0.conv"
            index += 1


def _add_middle(modules: dict[str, str], shape: UNetShape) -> None:
    if shape.middle_depth is None:
        return
    _add_resnet(modules, "middle_block.0", "mid_block.resnets.0")
    if shape.middle_depth:
        modules["middle_block.1"] = "mid_block.attentions.0"
        _add_resnet(modules, "middle_block.2", "mid_block.resnets.1")


def _add_up(modules: dict[str, str], shape: UNetShape) -> None:
    index = 0
    for level, depths in enumerate(shape.up_depths):
        block = f"up_blocks.{level}"
        for number, depth in enumerate(depths):
            _add_resnet(modules, f"output_blocks.{index}.0", f"{block}.resnets.{number}")
            if depth:
                modules[f"output_blocks.{index}.1"] = f"{block}.attentions.{number}"
            last = number == len(depths) - 1
            if last and level < shape.levels - 1:
                # the upsampling convolution stands behind the transformer where there is one
                modules[f"output_blocks.{index}.{2 if depth else 1}.conv"] = f"{block}.upsamplers.0.conv"
            index += 1


def translate(name: str, modules: dict[str, str]) -> str | None:
    """`name` with its longest prefix of whole components that is in `modules` replaced; None when none is."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        target = modules.get(".".join(parts[:cut]))
        if target is not None:
            return ".".join([target, *parts[cut:]])
    return None


def vae_modules(names: Iterable[str]) -> dict[str, str]:
    """`{LDM module: diffusers module}` of an AutoencoderKL whose tensors have these names."""
    names = list(names)
    levels = 1 + max(
        (int(name.split(".")[2]) for name in names if name.startswith("encoder.down.")), default=-1
    )
    modules = {
        "quant_conv": "quant_conv",
        "post_quant_conv": "post_quant_conv",
    }
    for half in ("encoder", "decoder"):
        modules |= {
            f"{half}.conv_in": f"{half}.conv_in",
            f"{half}.norm_out": f"{half}.conv_norm_out",
            f"{half}.conv_out": f"{half}.conv_out",
            f"{half}.mid.block_1": f"{half}.mid_block.resnets.0",
            f"{half}.mid.block_2": f"{half}.mid_block.resnets.1",
        }
        inner = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
        modules |= {
            f"{half}.mid.attn_1.{theirs}": f"{half}.mid_block.attentions.0.{ours}"
            for theirs, ours in inner.items()
        }
    for level in range(levels):
        up = levels - 1 - level
        modules[f"encoder.down.{level}.downsample.conv"] = f"encoder.down_blocks.{level}.downsamplers.0.conv"
        modules[f"decoder.up.{level}.upsample.conv"] = f"decoder.up_blocks.{up}.upsamplers.0.conv"
        for name in names:
            parts = name.split(".")
            if parts[:3] == ["encoder", "down", str(level)] and parts[3] == "block":
                modules[".".join(parts[:5])] = f"encoder.down_blocks.{level}.resnets.{parts[4]}"
            elif parts[:3] == ["decoder", "up", str(level)] and parts[3] == "block":
                modules[".".join(parts[:5])] = f"decoder.up_blocks.{up}.resnets.{parts[4]}"
    return modules


def vae_name(name: str, modules: dict[str, str]) -> str | None:
    """The diffusers name of an AutoencoderKL tensor."""
    target = translate(name, modules)
    return None if target is None else target.replace(".nin_shortcut.", ".conv_shortcut.")


def taesd_name(name: str) -> str | None:
    """The diffusers name of a TAESD tensor: the decoder's input clamp counts as a layer there, in diffusers it doesn't."""
    half, _, rest = name.partition(".")
    index, _, inner = rest.partition(".")
    if half == "taesd_encoder":
        return f"encoder.layers.{index}.{inner}"
    if half == "taesd_decoder":
        return f"decoder.layers.{int(index) - 1}.{inner}"
    return None


def open_clip_names(name: str) -> tuple[str, ...]:
    """The transformers names of an open_clip text tensor; three (q, k, v) for a fused attention weight, () if unknown."""
    fixed = {
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "ln_final.weight": "text_model.final_layer_norm.weight",
        "ln_final.bias": "text_model.final_layer_norm.bias",
        "text_projection": "text_projection.weight",
        "text_projection.weight": "text_projection.weight",
    }
    if name in fixed:
        return (fixed[name],)
    parts = name.split(".")
    if parts[:2] != ["transformer", "resblocks"] or len(parts) < 5:
        return ()
    layer, inner = f"text_model.encoder.layers.{parts[2]}", ".".join(parts[3:])
    if inner.startswith("attn.in_proj_"):
        kind = inner.removeprefix("attn.in_proj_")
        return tuple(f"{layer}.self_attn.{each}_proj.{kind}" for each in "qkv")
    module, _, kind = inner.rpartition(".")
    return (f"{layer}.{OPEN_CLIP_LAYER[module]}.{kind}",) if module in OPEN_CLIP_LAYER else ()
