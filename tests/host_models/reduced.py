"""Random models of many families, small enough for a CPU: the host's own config and network classes, with few and narrow blocks.

What the host's detection would infer from a file is said here, where it can't be small. Runs in a process that has opened a
ComfyUI.
"""

from __future__ import annotations

import torch

FLUX = dict(
    in_channels=16,
    out_channels=16,
    context_in_dim=96,
    hidden_size=128,
    mlp_ratio=4.0,
    num_heads=2,
    depth=2,
    depth_single_blocks=2,
    axes_dim=[16, 24, 24],
    theta=10000,
    patch_size=2,
    qkv_bias=True,
    txt_ids_dims=[],
)
COSMOS = dict(
    max_img_h=240,
    max_img_w=240,
    max_frames=128,
    in_channels=16,
    out_channels=16,
    patch_spatial=2,
    patch_temporal=1,
    model_channels=128,
    concat_padding_mask=True,
    crossattn_emb_channels=1024,
    pos_emb_cls="rope3d",
    pos_emb_learnable=True,
    use_adaln_lora=True,
    adaln_lora_dim=16,
    num_blocks=2,
    num_heads=2,
    extra_per_block_abs_pos_emb=False,
    rope_h_extrapolation_ratio=4.0,
    rope_w_extrapolation_ratio=4.0,
    rope_t_extrapolation_ratio=1.0,
    rope_enable_fps_modulation=False,
)
UNET = dict(
    use_checkpoint=False,
    image_size=32,
    use_spatial_transformer=True,
    legacy=False,
    in_channels=4,
    out_channels=4,
    model_channels=32,
    num_res_blocks=[1, 1],
    channel_mult=[1, 2],
    use_temporal_resblock=False,
    use_temporal_attention=False,
)
# family: (class in comfy.supported_models, unet_config, (latent shape without batch), (tokens, text width), extra conds)
FAMILIES = {
    "sd15": (
        "SD15",
        dict(
            UNET,
            adm_in_channels=None,
            transformer_depth=[1, 1],
            transformer_depth_output=[1, 1, 1, 1],
            transformer_depth_middle=1,
            use_linear_in_transformer=False,
            context_dim=64,
            num_heads=4,
        ),
        (4, 16, 16),
        (77, 64),
        {},
    ),
    "sdxl": (
        "SDXL",
        dict(
            UNET,
            num_classes="sequential",
            adm_in_channels=2816,
            transformer_depth=[0, 1],
            transformer_depth_output=[0, 0, 1, 1],
            transformer_depth_middle=1,
            use_linear_in_transformer=True,
            context_dim=64,
        ),
        (4, 16, 16),
        (77, 64),
        {"pooled_output": (1280,)},
    ),
    "sd3": (
        "SD3",
        dict(
            in_channels=16,
            patch_size=2,
            out_channels=16,
            depth=2,
            input_size=None,
            adm_in_channels=2048,
            context_embedder_config={
                "target": "torch.nn.Linear",
                "params": {"in_features": 96, "out_features": 128},
            },
            num_patches=1024,
            pos_embed_max_size=32,
            qk_norm="rms",
            pos_embed_scaling_factor=None,
            x_block_self_attn_layers=[0],
        ),
        (16, 16, 16),
        (10, 96),
        {"pooled_output": (2048,)},
    ),
    "flux": (
        "Flux",
        dict(FLUX, image_model="flux", vec_in_dim=48, guidance_embed=True, hidden_size=128),
        (16, 16, 16),
        (10, 96),
        {"pooled_output": (48,)},
    ),
    "flux2": (
        "Flux2",
        dict(
            FLUX,
            image_model="flux2",
            vec_in_dim=None,
            guidance_embed=False,
            axes_dim=[16, 16, 16, 16],
            in_channels=128,
            out_channels=128,
            patch_size=1,
            mlp_ratio=3.0,
            theta=2000,
            global_modulation=True,
            mlp_silu_act=True,
            qkv_bias=False,
            ops_bias=False,
            default_ref_method="index",
            ref_index_scale=10.0,
            txt_ids_dims=[3],
        ),
        (128, 8, 8),
        (10, 96),
        {},
    ),
    "chroma": (
        "Chroma",
        dict(
            FLUX,
            image_model="chroma",
            in_channels=64,
            out_channels=64,
            in_dim=64,
            out_dim=128,
            hidden_dim=64,
            n_layers=2,
            vec_in_dim=None,
        ),
        (16, 16, 16),
        (10, 96),
        {},
    ),
    "qwen": (
        "QwenImage",
        dict(
            image_model="qwen_image",
            in_channels=64,
            num_layers=2,
            attention_head_dim=64,
            num_attention_heads=2,
            joint_attention_dim=96,
            pooled_projection_dim=48,
            axes_dims_rope=(16, 24, 24),
        ),
        (16, 1, 16, 16),
        (10, 96),
        {},
    ),
    "lumina2": (
        "Lumina2",
        dict(
            image_model="lumina2",
            patch_size=2,
            in_channels=16,
            dim=192,
            cap_feat_dim=96,
            n_layers=2,
            qk_norm=True,
            n_heads=4,
            n_kv_heads=2,
            axes_dims=[16, 16, 16],
            axes_lens=[300, 512, 512],
            rope_theta=10000.0,
            ffn_dim_multiplier=4.0,
        ),
        (16, 16, 16),
        (10, 96),
        {"attention_mask": None},
    ),
    "zimage": (
        "ZImage",
        dict(
            image_model="lumina2",
            patch_size=2,
            in_channels=16,
            dim=256,
            cap_feat_dim=96,
            n_layers=2,
            qk_norm=True,
            n_heads=4,
            n_kv_heads=4,
            axes_dims=[16, 24, 24],
            axes_lens=[1536, 512, 512],
            rope_theta=256.0,
            ffn_dim_multiplier=8 / 3,
            z_image_modulation=True,
            time_scale=1000.0,
            pad_tokens_multiple=32,
        ),
        (16, 16, 16),
        (10, 96),
        {},
    ),
    "hidream": (
        "HiDream",
        dict(
            image_model="hidream",
            attention_head_dim=32,
            axes_dims_rope=[16, 8, 8],
            caption_channels=[4096, 96],
            max_resolution=[128, 128],
            in_channels=16,
            llama_layers=[0, 1, 2, 3],
            num_attention_heads=4,
            num_routed_experts=4,
            num_activated_experts=2,
            num_layers=2,
            num_single_layers=2,
            out_channels=16,
            patch_size=2,
            text_emb_dim=2048,
        ),
        (16, 16, 16),
        (10, 4096),
        {"pooled_output": (2048,), "conditioning_llama3": (4, 10, 96)},
    ),
    "wan21": (
        "WAN21_T2V",
        dict(
            image_model="wan2.1",
            model_type="t2v",
            dim=128,
            out_dim=16,
            num_heads=2,
            ffn_dim=256,
            num_layers=2,
            patch_size=(1, 2, 2),
            freq_dim=64,
            in_dim=16,
            text_dim=96,
            text_len=512,
        ),
        (16, 1, 16, 16),
        (10, 96),
        {},
    ),
    "krea2": (
        "Krea2",
        dict(
            image_model="krea2",
            features=256,
            channels=16,
            patch=2,
            layers=2,
            heads=2,
            kvheads=1,
            txtlayers=3,
            txtdim=80,
            txtheads=4,
            txtkvheads=4,
        ),
        (16, 1, 16, 16),
        (10, 240),
        {},
    ),
    "anima": ("Anima", dict(COSMOS, image_model="anima"), (16, 1, 16, 16), (10, 1024), {"t5xxl_ids": None}),
    "ernie": (
        "ErnieImage",
        dict(
            image_model="ernie",
            hidden_size=256,
            num_attention_heads=2,
            num_layers=2,
            ffn_hidden_size=256,
            text_in_dim=96,
        ),
        (128, 8, 8),
        (10, 96),
        {},
    ),
    "auraflow": (
        "AuraFlow",
        dict(max_seq=1024, cond_seq_dim=96, n_double_layers=1, n_layers=2, dim=128, n_heads=2),
        (4, 16, 16),
        (10, 96),
        {},
    ),
}


def fill(module, seed=0):
    """comfy.ops layers are never initialised: give every tensor a sensible random value."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, each in [*module.named_parameters(), *module.named_buffers()]:
            if not each.is_floating_point():
                continue
            noise = torch.randn(each.shape, generator=draw, dtype=torch.float32)
            scale = 0.05 if each.dim() < 2 else each[0].numel() ** -0.5
            norm = each.dim() < 2 and ("norm" in name or "scale" in name) and not name.endswith("bias")
            each.copy_(noise * scale + (1.0 if norm else 0.0))


def config_of(family, dtype=torch.float32):
    """The host's configuration object of a reduced family."""
    import comfy.supported_models

    name, config, *_ = FAMILIES[family]
    config = dict(config)
    if not hasattr(comfy.supported_models, "Krea2"):  # an older ComfyUI, whose classes lack these
        config.pop("txt_ids_dims", None)
        if family == "chroma":
            config.pop("vec_in_dim")
    made = getattr(comfy.supported_models, name)(config)
    if family in ("sd15", "sdxl"):
        made.unet_config.update(num_heads=4, num_head_channels=-1)
    made.set_inference_dtype(dtype, None)
    return made


def make(family, dtype=torch.float32, seed=0):
    """The host's `BaseModel` with random weights."""
    model = config_of(family, dtype).get_model({}, "")
    fill(model.diffusion_model, seed)
    return model.requires_grad_(False)


def condition(family, *, tokens=None, seed=1):
    """What a text encoder would say of one caption, as the host's encoders hand it over."""
    _, _, _, (length, width), more = FAMILIES[family]
    length = tokens or length
    draw = torch.Generator().manual_seed(seed)
    made = {"cross_attn": torch.randn(1, length, width, generator=draw)}
    for key, shape in more.items():
        if key == "attention_mask":
            made[key] = torch.ones(1, length)
            made[key][0, -2:] = 0
        elif key == "t5xxl_ids":
            made[key], made["t5xxl_weights"] = torch.arange(12), torch.ones(12)
        elif key == "conditioning_llama3":
            made[key] = torch.randn(1, shape[0], length, shape[2], generator=draw)
        else:
            made[key] = torch.randn(1, *shape, generator=draw)
    return made


def latents(family, seed=2):
    """Random latents of one picture, (C, H, W)."""
    return torch.randn(FAMILIES[family][2], generator=torch.Generator().manual_seed(seed))
