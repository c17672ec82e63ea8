"""docs/families.md, written from `architectures/`: what each model family needs, costs and starts from.

    python -m scripts.family_pages            write it anew

A test holds the page to what this gives.
"""

from __future__ import annotations

from collections.abc import Iterable

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.architectures.base import Architecture
from kohya_bridge.architectures.relatives import RELATIVES
from kohya_bridge.engine_names import ENGINES
from kohya_bridge.engines.registry import load_engines
from kohya_bridge.presets import preset_settings
from kohya_bridge.workspace import PACK_ROOT, write_atomically

PAGE = PACK_ROOT / "docs" / "families.md"
PICTURES = 20
"""For how many pictures the presets' numbers are shown."""


def page() -> str:
    """The text of docs/families.md."""
    families = list(ARCHITECTURES.values())
    return "\n\n".join(
        (
            "# Model families",
            "Written from `kohya_bridge/architectures/` by `python -m scripts.family_pages`; how to add one is in `CONTRIBUTING.md`.",
            "A family is known by its file's header, whatever the file's name, prefix or number format. Where two have the same tensors "
            "the name decides (`turbo`, `base`), the check says so, and `family:` in a config settles it. What a family needs beside "
            "its file is found by content where exactly one file in ComfyUI's folder fits; else choose it in Kohya Model Files or "
            "under `model_files:`. A whole checkpoint needs nothing.",
            "## What trains them, and what they need",
            _table(("family", "model", "engines of `auto`", "ComfyUI's folder", "files beside it"), map(_needs, families)),
            "## What they cost",
            "Half precision, one picture at the family's resolution; activations without and with gradient checkpointing. Counted on the "
            "real networks without weights, not measured on a GPU. "
            "`plan` and Kohya Train make their estimates of these: a step takes two forward passes' time, three with checkpointing.",
            _table(
                ("family", "pixels", "model GiB", "activations GiB", "checkpointed GiB", "encoders GiB", "LoRA MB a rank", "TFLOP forward"),
                map(_costs, families),
            ),
            "## Where their presets begin",
            f"The `standard` preset for {PICTURES} pictures; [presets.md](presets.md) explains the presets.",
            _table(("family", "rank / alpha", "rate", "steps", "source"), map(_numbers, families)),
            "## How they are drawn",
            "What a usual grid takes, as in ComfyUI's own templates.",
            _table(("family", "loaders", "latent node", "steps", "cfg", "sampler / scheduler", "shift"), map(_drawing, families)),
            "## What they are called elsewhere",
            _table(("family", "modelspec", "Civitai", "Hugging Face"), map(_names, families)),
            "## Distilled models",
            "\n".join(f"* {each.distilled.advice}" for each in families if each.distilled),
            "## Known, and not a family here",
            "Tried as `other`, with their gradients checked first: "
            + ", ".join(dict.fromkeys(each.title for each in RELATIVES if each.medium == "image" and each.drawn and not _u_net(each)))
            + ". Refused in words: "
            + ", ".join(dict.fromkeys(each.title for each in RELATIVES if each.medium != "image" or not each.drawn or _u_net(each)))
            + "; and GGUF files of any model.",
        )
    ) + "\n"  # fmt: skip


def _u_net(each: object) -> bool:
    return "input_blocks." in getattr(each, "marks").having  # noqa: B009


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _needs(each: Architecture) -> tuple[str, ...]:
    trains = [
        ENGINES[name].title for name, engine in load_engines().items() if not engine.cannot_train(each, {})
    ]
    files = ", ".join(
        f"`{file.option}` {file.title}{'' if file.required else ' (if wanted)'}" for file in each.model_files
    )
    return f"`{each.name}`", each.title, ", ".join(trains) or each.not_trainable, each.base_folder, files  # fmt: skip


def _costs(each: Architecture) -> tuple[str, ...]:
    costs = each.estimates
    numbers = (
        costs.weights_gib,
        costs.activations_gib,
        costs.checkpointed_gib,
        costs.encoders_gib,
        costs.lora_mb_per_rank,
    )
    return f"`{each.name}`", str(each.resolution), *(f"{each:g}" for each in (*numbers, costs.forward_tflop))  # fmt: skip


def _numbers(each: Architecture) -> tuple[str, ...]:
    values = preset_settings("standard", each, images=PICTURES)
    ranks = f"{values['network_dim']} / {values['network_alpha']:g}"
    return f"`{each.name}`", ranks, f"{values['unet_lr']:g}", str(values["max_train_steps"]), each.presets.sources[""]  # fmt: skip


def _drawing(each: Architecture) -> tuple[str, ...]:
    how = each.drawing
    loaders = "CheckpointLoaderSimple"
    if how.text and how.vae:
        loaders = f"UNETLoader, {how.text.node} `{how.text.type}`, VAELoader"
    elif how.text:
        loaders += f" (where it lacks text encoders, also {how.text.node})"
    shift = "" if how.shift is None else f"{how.shift:g}"
    return f"`{each.name}`", loaders, how.latent, str(how.steps), f"{how.cfg:g}", f"{how.sampler} / {how.scheduler}", shift  # fmt: skip


def _names(each: Architecture) -> tuple[str, ...]:
    return f"`{each.name}`", each.names.modelspec, each.names.civitai, each.names.hub_base


if __name__ == "__main__":
    write_atomically(PAGE, page())
