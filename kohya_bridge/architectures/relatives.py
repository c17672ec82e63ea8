"""Models that have no file of their own here: known by their marks, so that a person is told what the file is.

In: the tensors of a file. Out: a `Relative`. Image models among them can be tried through ComfyUI (`other.py`); the rest is
refused in words. Marks as ComfyUI's `model_detection.py` has them. Looked through in order, before the families: some of them
bear a family's marks too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .base import Marks, Shapes


@dataclass(frozen=True)
class Relative:
    """A model that is no family of ours. `title` fits "this file is ..."; `drawn` tells whether ComfyUI draws pictures with it
    from a prompt alone. `named` is a pattern in the file's name, where a family of ours has the same tensors."""

    title: str
    marks: Marks
    medium: Literal["image", "edit", "video", "sound", "shape"] = "image"
    drawn: bool = True
    named: str = ""
    text_type: str = "stable_diffusion"
    """The type by which ComfyUI's loaders load its text encoders; with another one a caption would be another."""

    def fits(self, shapes: Shapes, file_name: str) -> bool:
        """Whether a file is such a model."""
        is_called = not self.named or re.search(self.named, file_name.lower()) is not None
        return is_called and self.marks.fit(shapes)


def _begins(*names: str, without: tuple[str, ...] = ()) -> Marks:
    return Marks(having=names, lacking=without)


_UNET = ("input_blocks.", "output_blocks.")
_UNET_INPUT = "input_blocks.0.0.weight"


def _word(text: str) -> str:
    """A word of a file's name, and no part of another."""
    return rf"(?<![a-z]){text}(?![a-z])"


RELATIVES: tuple[Relative, ...] = (
    # Editors: with the tensors of the model that draws
    Relative("Qwen-Image-Edit", _begins("transformer_blocks.0.img_mlp.net.", "__index_timestep_zero__"), "edit"),
    Relative("Qwen-Image-Edit", _begins("transformer_blocks.0.img_mlp.net.", "time_text_embed."), "edit", named=_word("edit(?:ing)?")),
    Relative("FLUX.1 Kontext", _begins("double_blocks.0.", "single_blocks.0.", "vector_in."), "edit", named=_word("kontext")),
    Relative("HiDream-E1", _begins("caption_projection.0.linear."), "edit", named=r"hidream[_-]?e1(?![0-9])"),
    # U-Nets
    Relative("a video model (Stable Video Diffusion)", Marks(_UNET, sized={"*.time_stack.*.norm1.weight": (None,)}), "video"),
    Relative("an inpainting model", Marks(_UNET, sized={_UNET_INPUT: (None, 9, None, None)}), drawn=False),
    Relative("an instruction-editing model", Marks(_UNET, sized={_UNET_INPUT: (None, 8, None, None)}), drawn=False),
    Relative("an EDM model (such as Playground 2.5)", _begins(*_UNET, "edm_mean"), drawn=False),
    Relative("an EDM model (such as Playground 2.5)", _begins(*_UNET, "edm_vpred.sigma_max"), drawn=False),
    Relative("Stable Diffusion 2", Marks(_UNET, ("label_emb.",), {"*.proj_in.weight": (None, None)})),
    Relative("the SDXL refiner", Marks((*_UNET, "label_emb."), (), {"*.attn2.to_k.weight": (None, 1280)}), drawn=False),
    Relative("Stable Cascade", _begins("clf.1."), drawn=False),
    # with the blocks of FLUX
    Relative("Chroma Radiance", _begins("double_blocks.0.", "nerf_blocks."), text_type="chroma"),
    Relative("Ovis-Image", _begins("double_blocks.0.img_mlp.gate_proj."), text_type="ovis"),
    Relative("a FLUX.1 model for inpainting or control", Marks(("single_blocks.0.",), ("double_stream_modulation_img.",), {"img_in.weight": (None, 384)}), drawn=False),
    Relative("a FLUX.1 model for inpainting or control", Marks(("single_blocks.0.",), ("double_stream_modulation_img.",), {"img_in.weight": (None, 128)}), drawn=False),
    Relative("LongCat-Image", Marks(("double_blocks.0.", "single_blocks.0."), ("vector_in.", "double_stream_modulation_img."), {"txt_in.weight": (None, 3584)}), text_type="longcat_image"),
    Relative("HunyuanVideo", _begins("txt_in.individual_token_refiner.", "vision_in."), "video"),
    Relative("HunyuanVideo", _begins("txt_in.individual_token_refiner.", without=("byt5_in.",)), "video"),
    Relative("Hunyuan 3D", _begins("latent_in.", "double_blocks.0."), "shape"),
    # with the blocks of Lumina
    Relative("NewBie-Image", _begins("cap_embedder.", "clip_text_pooled_proj."), text_type="newbie"),
    Relative("Z-Image in pixel space", _begins("cap_embedder.", "dec_net."), text_type="lumina2"),
    # with the blocks of Qwen-Image
    Relative("Mage-Flow", Marks(("transformer_blocks.0.",), (), {"txt_norm.weight": (2560,), "proj_out.weight": (128, None)}), text_type="mage"),
    Relative("Lens", _begins("transformer_blocks.0.attn.norm_added_q.", "transformer_blocks.0.img_mlp.w1."), text_type="lens"),
    Relative("Qwen-Image-Layered", _begins("transformer_blocks.0.", "time_text_embed.addition_t_embedding."), drawn=False),
    # of their own
    Relative("HiDream", _begins("caption_projection.0.linear."), text_type="hidream"),
    Relative("HiDream-O1", _begins("t_embedder1.mlp.0.", "x_embedder.proj1.")),
    Relative("AuraFlow", _begins("double_layers.0.attn.w1q.")),
    Relative("AuraFlow", _begins("joint_transformer_blocks.0.attn.add_k_proj.")),
    Relative("ERNIE-Image", _begins("layers.0.mlp.linear_fc2.")),
    Relative("Boogu-Image", _begins("double_stream_layers.0.img_instruct_attn."), text_type="boogu"),
    Relative("OmniGen2", _begins("time_caption_embed.timestep_embedder."), text_type="omnigen2"),
    Relative("Ideogram 4", _begins("embed_image_indicator."), text_type="ideogram4"),
    Relative("PixArt", _begins("t_block.1."), text_type="pixart"),
    Relative("PixArt", _begins("adaln_single.emb.timestep_embedder.", "pos_embed.proj."), text_type="pixart"),
    Relative("Hunyuan DiT", _begins("mlp_t5.0."), text_type="hunyuan_dit"),
    Relative("PixelDiT", _begins("core.pixel_embedder."), text_type="pixeldit"),
    Relative("Cosmos Predict 2", _begins("blocks.0.mlp.layer1.", without=("llm_adapter.",)), text_type="cosmos"),
    Relative("Kandinsky 5 Image", Marks(("visual_transformer_blocks.0.",), (), {"visual_embeddings.in_layer.bias": (2560,)}), text_type="kandinsky5_image"),
    Relative("Kandinsky 5", _begins("visual_transformer_blocks.0."), "video"),
    Relative("Wan", _begins("head.modulation"), "video"),
    Relative("Wan", _begins("condition_embedder.time_embedder.", "scale_shift_table"), "video"),
    Relative("LTX-Video", _begins("adaln_single.emb.timestep_embedder."), "video"),
    Relative("CogVideoX", _begins("blocks.0.norm1.linear."), "video"),
    Relative("Mochi", _begins("t5_yproj."), "video"),
    Relative("Cosmos", _begins("blocks.block0."), "video"),
    Relative("MiniMax H3", _begins("video_patch_proj."), "video"),
    Relative("SeedVR2", Marks(sized={"blocks.*.mlp.vid.proj_out.weight": (None, None)}), "video"),
    Relative("SeedVR2", Marks(sized={"blocks.*.mlp.all.proj_in_gate.weight": (None, None)}), "video"),
    Relative("Stable Audio", _begins("transformer.rotary_pos_emb.inv_freq"), "sound"),
    Relative("ACE-Step", _begins("genre_embedder."), "sound"),
    Relative("ACE-Step", _begins("encoder.lyric_encoder."), "sound"),
    Relative("Trellis", _begins("img2shape."), "shape"),
    Relative("Hunyuan 3D", _begins("blocks.0.attn1.k_norm.", "t_embedder.mlp.2."), "shape"),
)  # fmt: skip


def relative(shapes: Shapes, file_name: str = "") -> Relative | None:
    """What a diffusion model with these tensors is, if it is none of the families; None if nothing is known of it."""
    return next((each for each in RELATIVES if each.fits(shapes, file_name)), None)
