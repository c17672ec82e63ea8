"""The shape of a Stable Diffusion U-Net, read from the names and shapes of its tensors (LDM layout).

In: `{tensor name: shape}` below `model.diffusion_model.`. Out: a `UNetShape`, from which any engine can build the model:
full SD 1.5 and SDXL, and distilled or reduced ones (fewer levels, blocks or transformer layers, resnet-only or no middle
block, attention in some blocks of a level only). Pure; knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InvalidInput

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class UNetShape:
    """All that has to be known to build the U-Net. A level is one resolution; level 0 is the finest."""

    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    """Channels of each level."""
    res_blocks: tuple[int, ...]
    """Residual blocks of each level on the way down; the way up has one more."""
    down_depths: tuple[tuple[int, ...], ...]
    """Transformer layers after each residual block on the way down, by level; 0 is no attention."""
    up_depths: tuple[tuple[int, ...], ...]
    """The same on the way up, deepest level first, as the file orders them."""
    middle_depth: int | None
    """Transformer layers of the middle block; 0 is one residual block alone; None is no middle block."""
    context_dim: int | None
    """Width of the text conditioning; None when nothing attends to text."""
    linear_projection: bool
    """Whether the transformers project with Linear (SD 2, SDXL) instead of a 1x1 convolution (SD 1)."""
    vector_dim: int | None
    """Width of the vector conditioning (SDXL: pooled text and sizes); None for SD 1."""

    @property
    def levels(self) -> int:
        return len(self.channels)


def read_unet_shape(tensors: Shapes) -> UNetShape:
    """The shape of the U-Net with these tensors.

    Raises:
        InvalidInput: they do not make a U-Net of this kind.
    """
    try:
        channels, res_blocks, down_depths = _read_down(tensors)
        shape = UNetShape(
            in_channels=tensors["input_blocks.0.0.weight"][1],
            out_channels=tensors["out.2.weight"][0],
            channels=channels,
            res_blocks=res_blocks,
            down_depths=down_depths,
            up_depths=_read_up(tensors),
            middle_depth=_middle_depth(tensors),
            context_dim=_context_dim(tensors),
            linear_projection=_linear_projection(tensors),
            vector_dim=tensors["label_emb.0.0.weight"][1] if "label_emb.0.0.weight" in tensors else None,
        )
    except (KeyError, IndexError):
        raise _unknown_layout("tensors that every U-Net has are missing") from None
    mirrored = tuple(blocks + 1 for blocks in reversed(shape.res_blocks))
    if tuple(map(len, shape.up_depths)) != mirrored:
        raise _unknown_layout("its way up does not mirror its way down")
    return shape


def _unknown_layout(reason: str) -> InvalidInput:
    return InvalidInput(
        f"The U-Net in this checkpoint has a layout that is not known here: {reason}.",
        "Use a Stable Diffusion 1.x or SDXL checkpoint, or a distilled one that ComfyUI loads.",
    )


def _read_down(
    tensors: Shapes,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Channels, residual blocks and transformer depths of each level, finest first."""
    channels: list[int] = []
    depths: list[list[int]] = [[]]
    index = 1
    while True:
        block = f"input_blocks.{index}"
        if f"{block}.0.in_layers.0.weight" in tensors:
            depths[-1].append(_depth(tensors, f"{block}.1"))
            width = tensors[f"{block}.0.out_layers.3.weight"][0]
            if len(depths[-1]) == 1:
                channels.append(width)
            elif channels[-1] != width:
                raise _unknown_layout("the width changes inside one level")
        elif f"{block}.0.op.weight" in tensors:
            depths.append([])
        else:
            break
        index += 1
    if not all(depths):
        raise _unknown_layout("a level has no residual block")
    return tuple(channels), tuple(map(len, depths)), tuple(map(tuple, depths))


def _read_up(tensors: Shapes) -> tuple[tuple[int, ...], ...]:
    """Transformer depths of each level on the way up, deepest first; an upsampling convolution ends a level."""
    depths: list[list[int]] = [[]]
    index = 0
    while f"output_blocks.{index}.0.in_layers.0.weight" in tensors:
        block = f"output_blocks.{index}"
        depths[-1].append(_depth(tensors, f"{block}.1"))
        if f"{block}.1.conv.weight" in tensors or f"{block}.2.conv.weight" in tensors:
            depths.append([])
        index += 1
    return tuple(map(tuple, depths))


def _depth(tensors: Shapes, transformer: str) -> int:
    depth = 0
    while f"{transformer}.transformer_blocks.{depth}.norm1.weight" in tensors:
        depth += 1
    return depth


def _middle_depth(tensors: Shapes) -> int | None:
    if "middle_block.0.in_layers.0.weight" not in tensors:
        return None
    depth = _depth(tensors, "middle_block.1")
    if bool(depth) != ("middle_block.2.in_layers.0.weight" in tensors):
        raise _unknown_layout("its middle block is neither complete nor a single residual block")
    return depth


def _context_dim(tensors: Shapes) -> int | None:
    found = {shape[1] for name, shape in tensors.items() if name.endswith(".attn2.to_k.weight")}
    if len(found) > 1:
        raise _unknown_layout("its blocks attend to texts of different widths")
    return found.pop() if found else None


def _linear_projection(tensors: Shapes) -> bool:
    ranks = {len(shape) for name, shape in tensors.items() if name.endswith(".1.proj_in.weight")}
    if len(ranks) > 1:
        raise _unknown_layout("its transformers mix linear and convolutional projections")
    return ranks == {2}
