"""Names and shapes of the tensors of single-file checkpoints (LDM and SGM layout), for making bases out of nothing.

In: a `UNetShape` and a few widths. Out: `{name: shape}` for U-Net, CLIP-L, OpenCLIP bigG, AutoencoderKL and TAESD, exactly as
ComfyUI and sd-scripts expect them. No weights; see `make_demo_base.py` for those.
"""

from __future__ import annotations

from kohya_bridge.models.base_models import CLIP_G_PREFIX, CLIP_L_PREFIXES, UNET_PREFIX, VAE_PREFIX
from kohya_bridge.models.unet_shape import UNetShape

Shapes = dict[str, tuple[int, ...]]
VOCABULARY = 49408

SD15_UNET = UNetShape(
    in_channels=4, out_channels=4, channels=(320, 640, 1280, 1280), res_blocks=(2, 2, 2, 2),
    down_depths=((1, 1), (1, 1), (1, 1), (0, 0)), up_depths=((0, 0, 0), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    middle_depth=1, context_dim=768, linear_projection=False, vector_dim=None,
)  # fmt: skip
SDXL_UNET = UNetShape(
    in_channels=4, out_channels=4, channels=(320, 640, 1280), res_blocks=(2, 2, 2),
    down_depths=((0, 0), (2, 2), (10, 10)), up_depths=((10, 10, 10), (2, 2, 2), (0, 0, 0)),
    middle_depth=10, context_dim=2048, linear_projection=True, vector_dim=2816,
)  # fmt: skip


def unet_shapes(shape: UNetShape) -> Shapes:
    """Every tensor of the U-Net."""
    first, time = shape.channels[0], shape.channels[0] * 4
    found = Shapes()
    _affine(found, "time_embed.0", (time, first))
    _affine(found, "time_embed.2", (time, time))
    if shape.vector_dim is not None:
        _affine(found, "label_emb.0.0", (time, shape.vector_dim))
        _affine(found, "label_emb.0.2", (time, time))
    _affine(found, "input_blocks.0.0", (first, shape.in_channels, 3, 3))
    skips, width, index = [first], first, 1
    for level, depths in enumerate(shape.down_depths):
        for depth in depths:
            _resnet(found, f"input_blocks.{index}.0", width, shape.channels[level], time)
            width = shape.channels[level]
            _transformer(found, f"input_blocks.{index}.1", width, depth, shape)
            skips.append(width)
            index += 1
        if level < shape.levels - 1:
            _affine(found, f"input_blocks.{index}.0.op", (width, width, 3, 3))
            skips.append(width)
            index += 1
    if shape.middle_depth is not None:
        _resnet(found, "middle_block.0", width, width, time)
        if shape.middle_depth:
            _transformer(found, "middle_block.1", width, shape.middle_depth, shape)
            _resnet(found, "middle_block.2", width, width, time)
    index = 0
    for level, depths in enumerate(shape.up_depths):
        target = shape.channels[shape.levels - 1 - level]
        for number, depth in enumerate(depths):
            _resnet(found, f"output_blocks.{index}.0", width + skips.pop(), target, time)
            width = target
            _transformer(found, f"output_blocks.{index}.1", width, depth, shape)
            if number == len(depths) - 1 and level < shape.levels - 1:
                _affine(found, f"output_blocks.{index}.{2 if depth else 1}.conv", (width, width, 3, 3))
            index += 1
    _affine(found, "out.0", (first,))
    _affine(found, "out.2", (shape.out_channels, first, 3, 3))
    return {UNET_PREFIX + name: size for name, size in found.items()}


def _affine(found: Shapes, name: str, weight: tuple[int, ...]) -> None:
    found[f"{name}.weight"] = weight
    found[f"{name}.bias"] = weight[:1]


def _resnet(found: Shapes, name: str, width: int, target: int, time: int) -> None:
    _affine(found, f"{name}.in_layers.0", (width,))
    _affine(found, f"{name}.in_layers.2", (target, width, 3, 3))
    _affine(found, f"{name}.emb_layers.1", (target, time))
    _affine(found, f"{name}.out_layers.0", (target,))
    _affine(found, f"{name}.out_layers.3", (target, target, 3, 3))
    if width != target:
        _affine(found, f"{name}.skip_connection", (target, width, 1, 1))


def _transformer(found: Shapes, name: str, width: int, depth: int, shape: UNetShape) -> None:
    if not depth:
        return
    projection = (width, width) if shape.linear_projection else (width, width, 1, 1)
    _affine(found, f"{name}.norm", (width,))
    _affine(found, f"{name}.proj_in", projection)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for attention, source in (("attn1", width), ("attn2", shape.context_dim or width)):
            found[f"{block}.{attention}.to_q.weight"] = (width, width)
            found[f"{block}.{attention}.to_k.weight"] = (width, source)
            found[f"{block}.{attention}.to_v.weight"] = (width, source)
            _affine(found, f"{block}.{attention}.to_out.0", (width, width))
        _affine(found, f"{block}.ff.net.0.proj", (width * 8, width))
        _affine(found, f"{block}.ff.net.2", (width, width * 4))
        for norm in ("norm1", "norm2", "norm3"):
            _affine(found, f"{block}.{norm}", (width,))
    _affine(found, f"{name}.proj_out", projection)


def clip_l_shapes(family: str, *, width: int = 768, layers: int = 12) -> Shapes:
    """OpenAI's CLIP-L text encoder."""
    found = Shapes()
    found["embeddings.token_embedding.weight"] = (VOCABULARY, width)
    found["embeddings.position_embedding.weight"] = (77, width)
    for number in range(layers):
        layer = f"encoder.layers.{number}"
        for each in ("k_proj", "v_proj", "q_proj", "out_proj"):
            _affine(found, f"{layer}.self_attn.{each}", (width, width))
        _affine(found, f"{layer}.layer_norm1", (width,))
        _affine(found, f"{layer}.mlp.fc1", (width * 4, width))
        _affine(found, f"{layer}.mlp.fc2", (width, width * 4))
        _affine(found, f"{layer}.layer_norm2", (width,))
    _affine(found, "final_layer_norm", (width,))
    return {f"{CLIP_L_PREFIXES[family]}text_model.{name}": size for name, size in found.items()}


def clip_g_shapes(*, width: int = 1280, layers: int = 32) -> Shapes:
    """OpenCLIP's bigG text encoder, with its fused attention weights and its projection as a bare parameter."""
    found = Shapes()
    found["positional_embedding"] = (77, width)
    found["token_embedding.weight"] = (VOCABULARY, width)
    found["text_projection"] = (width, width)
    found["logit_scale"] = ()
    for number in range(layers):
        layer = f"transformer.resblocks.{number}"
        found[f"{layer}.attn.in_proj_weight"] = (width * 3, width)
        found[f"{layer}.attn.in_proj_bias"] = (width * 3,)
        _affine(found, f"{layer}.attn.out_proj", (width, width))
        _affine(found, f"{layer}.ln_1", (width,))
        _affine(found, f"{layer}.ln_2", (width,))
        _affine(found, f"{layer}.mlp.c_fc", (width * 4, width))
        _affine(found, f"{layer}.mlp.c_proj", (width, width * 4))
    _affine(found, "ln_final", (width,))
    return {CLIP_G_PREFIX + name: size for name, size in found.items()}


def vae_shapes(*, widths: tuple[int, ...] = (128, 256, 512, 512), blocks: int = 2) -> Shapes:
    """Stable Diffusion's AutoencoderKL."""
    found = Shapes()
    _affine(found, "encoder.conv_in", (widths[0], 3, 3, 3))
    width = widths[0]
    for level, target in enumerate(widths):
        for number in range(blocks):
            _vae_resnet(found, f"encoder.down.{level}.block.{number}", width, target)
            width = target
        if level < len(widths) - 1:
            _affine(found, f"encoder.down.{level}.downsample.conv", (width, width, 3, 3))
    _vae_middle(found, "encoder", width)
    _affine(found, "encoder.norm_out", (width,))
    _affine(found, "encoder.conv_out", (8, width, 3, 3))
    _affine(found, "quant_conv", (8, 8, 1, 1))
    _affine(found, "post_quant_conv", (4, 4, 1, 1))
    _affine(found, "decoder.conv_in", (width, 4, 3, 3))
    _vae_middle(found, "decoder", width)
    for level in reversed(range(len(widths))):
        for number in range(blocks + 1):
            _vae_resnet(found, f"decoder.up.{level}.block.{number}", width, widths[level])
            width = widths[level]
        if level:
            _affine(found, f"decoder.up.{level}.upsample.conv", (width, width, 3, 3))
    _affine(found, "decoder.norm_out", (width,))
    _affine(found, "decoder.conv_out", (3, width, 3, 3))
    return {VAE_PREFIX + name: size for name, size in found.items()}


def _vae_resnet(found: Shapes, name: str, width: int, target: int) -> None:
    _affine(found, f"{name}.norm1", (width,))
    _affine(found, f"{name}.conv1", (target, width, 3, 3))
    _affine(found, f"{name}.norm2", (target,))
    _affine(found, f"{name}.conv2", (target, target, 3, 3))
    if width != target:
        _affine(found, f"{name}.nin_shortcut", (target, width, 1, 1))


def _vae_middle(found: Shapes, half: str, width: int) -> None:
    _vae_resnet(found, f"{half}.mid.block_1", width, width)
    _affine(found, f"{half}.mid.attn_1.norm", (width,))
    for each in ("q", "k", "v", "proj_out"):
        _affine(found, f"{half}.mid.attn_1.{each}", (width, width, 1, 1))
    _vae_resnet(found, f"{half}.mid.block_2", width, width)


def taesd_shapes(*, width: int = 64) -> Shapes:
    """The tiny autoencoder as ComfyUI accepts it inside a checkpoint (comfy/taesd/taesd.py)."""
    found = Shapes()
    _affine(found, "taesd_encoder.0", (width, 3, 3, 3))
    encoder = "b" + "sbbb" * 3  # b: residual block; s: convolution with stride 2, without bias
    decoder = "bbbuc" * 3 + "b"  # u: upsampling (no weights); c: convolution without bias
    for index, kind in enumerate(encoder, start=1):
        _taesd_layer(found, f"taesd_encoder.{index}", kind, width)
    _affine(found, f"taesd_encoder.{len(encoder) + 1}", (4, width, 3, 3))
    _affine(found, "taesd_decoder.1", (width, 4, 3, 3))  # layer 0 clamps, layer 2 is its ReLU
    for index, kind in enumerate(decoder, start=3):
        _taesd_layer(found, f"taesd_decoder.{index}", kind, width)
    _affine(found, f"taesd_decoder.{len(decoder) + 3}", (3, width, 3, 3))
    found["vae_scale"] = found["vae_shift"] = ()
    return {VAE_PREFIX + name: size for name, size in found.items()}


def _taesd_layer(found: Shapes, name: str, kind: str, width: int) -> None:
    if kind == "b":
        for inner in (0, 2, 4):
            _affine(found, f"{name}.conv.{inner}", (width, width, 3, 3))
    elif kind in "sc":
        found[f"{name}.weight"] = (width, width, 3, 3)
