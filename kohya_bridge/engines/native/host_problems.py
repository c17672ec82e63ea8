"""What stands between a plan and a training through ComfyUI's own models.

In: a plan of such a family, this machine's paths. Out: `Problem`s. Imports neither torch nor comfy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ...architectures import architecture
from ...models.comfy_folders import host_folder, host_name, knows
from ...models.quantised_formats import unread_formats
from ...plan import TrainingPlan
from ..contract import MachinePaths, Problem


def host_problems(plan: TrainingPlan, paths: MachinePaths) -> Iterator[Problem]:
    """Obstacles first, then what has no effect."""
    settings, of_family = plan.settings, architecture(plan.base_model.family)
    title = of_family.title
    host = host_folder(paths.tokenizer_dir)
    if host is None:
        yield Problem(
            "no_host",
            f"{title} is trained through ComfyUI's own models, and no ComfyUI was found.",
            "Start the training from ComfyUI, or set COMFYUI_DIR to its folder.",
        )
    elif not knows(host, of_family):
        yield Problem(
            "old_host",
            f"ComfyUI {host_name(host)} does not know {of_family.title} yet.",
            "Update ComfyUI: the model is trained through it"
            + (", or choose the kohya engine." if of_family.kohya else "."),
        )
    else:
        yield from _unread(paths, [each.option for each in of_family.model_files], host)
    if paths.base_model_file.suffix.lower() == ".gguf":
        yield Problem(
            "gguf",
            f"{paths.base_model_file.name} is a GGUF, which ComfyUI itself can't load.",
            "Choose the model as .safetensors; fp8 is as small.",
        )
    refused = {
        "network_train_unet_only": (True, "the text encoders are not trained"),
        "cache_latents": (True, "the VAE is not kept beside the model"),
        "cache_text_encoder_outputs": (True, "the text encoders are not kept beside the model"),
        "conv_dim": (0, "only linear layers are trained"),
        "torch_compile": (False, "blocks are not compiled"),
        "attention": ("sdpa", "attention is always sdpa"),
    }
    for name, (wanted, why) in refused.items():
        if getattr(settings, name) != wanted:
            value = str(wanted).lower()
            yield Problem(
                name, f"{name} is {getattr(settings, name)}; with {title} {why}.", f"Set it to {value}."
            )
    for name, off in (("clip_skip", 1), ("max_token_length", 75)):
        if getattr(settings, name) != off:
            yield Problem(
                "no_effect", f"{name} has no effect on {title}: ComfyUI's encoder decides.", "", blocks=False
            )


def _unread(paths: MachinePaths, options: Iterable[str], host: Path) -> Iterator[Problem]:
    """Files in formats that this ComfyUI does not read."""
    for file in (
        paths.base_model_file,
        *(Path(paths.extra[option]) for option in options if option in paths.extra),
    ):
        formats = unread_formats(file, host)
        if formats:
            yield Problem(
                "old_host_format",
                f"{file.name} is stored as {', '.join(formats)}, which ComfyUI {host_name(host)} can't read.",
                "Update ComfyUI, or choose the file in bf16, fp16 or plain fp8.",
            )
