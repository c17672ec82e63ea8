"""The model card: what a LoRA is, how to use it, what it was made from, what was measured, how to make it again.

In: `PackageFacts` and the finished file's names and hashes. Out: Markdown for people, freed of this machine. A number
that was not measured is not in it; the card says so. Every text that somebody wrote goes through `markdown.py`.
"""

from __future__ import annotations

from ..counted import counted
from ..models.lora_kinds import LORA
from .facts import PackageFacts
from .markdown import code, fenced, prose, table
from .metadata import names_files_of_this_machine, usage_hint

PATHS_TAKEN_OUT = (
    "The training named files of the machine that it ran on; they were taken out, so the plan is incomplete."
)


def model_card(facts: PackageFacts, *, file_name: str, sha256: str, tensor_sha256: str) -> str:
    """The whole card. `file_name` is the LoRA's name without folders."""
    stem = file_name.removesuffix(".safetensors")
    parts = [
        f"# {prose(facts.title)}",
        f"A LoRA for {facts.family.title}, trained from {counted(facts.plan.dataset.images, 'picture')}. {prose(usage_hint(facts))}",
        prose(facts.release.description),
        "## Prompt tokens",
        _tokens(facts),
        "## How to use it",
        _usage(facts, stem),
        "## Recommended strength",
        f"**{prose(facts.strength.text)}**. {prose(facts.strength.reason)}",
        "## Training data",
        _data(facts),
        "## Licence and approval",
        _licence(facts),
        "## Training",
        _training(facts),
        "## Measures",
        _measures(facts),
        "## Limits",
        _limits(facts),
        "## Reproduce",
        _reproduce(facts, file_name),
        "## File",
        table(
            (
                ("File", code(file_name)),
                ("SHA-256", f"`{sha256}`"),
                ("AutoV2", f"`{sha256[:10]}`"),
                ("SHA-256 of the tensors", f"`{tensor_sha256}`"),
            )
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tokens(facts: PackageFacts) -> str:
    if not facts.trigger:
        return "No trigger: the LoRA acts on every prompt."
    return f"{code(facts.trigger)}: write it as a plain word, without brackets. It stood in every training caption."


def _usage(facts: PackageFacts, stem: str) -> str:
    strength = f"{facts.strength.strength:g}"
    clip = "" if facts.plan.settings.network_train_unet_only else f", strength_clip {strength}"
    note = "" if clip else " The text encoder was not trained, so `strength_clip` changes nothing."
    lines = [
        f"- ComfyUI: **Load Trained LoRA** of this pack, or the stock **Load LoRA** with "
        f"{code(f'{facts.plan.character}/{stem}.safetensors')}, strength_model {strength}{clip}.{note}",
        f"- AUTOMATIC1111 and Forge: {code(f'<lora:{stem}:{strength}>')} in the prompt.",
        "- diffusers: " + code(f'pipeline.load_lora_weights(folder, weight_name="{stem}.safetensors")') + ".",
    ]
    if facts.sample:
        lines.append(
            f"- A prompt that was rendered with it: {code(facts.sample.prompt)} (seed {facts.sample.seed})."
        )
    return "\n".join(lines)


def _data(facts: PackageFacts) -> str:
    dataset = facts.plan.dataset
    return table(
        (
            ("Pictures", str(dataset.images)),
            ("Held out of training", str(facts.held_out_images)),
            ("Source", prose(facts.release.source)),
            ("Credit", prose(facts.release.credit)),
            ("Rating", facts.release.rating),
            ("Dataset", f"`{dataset.slug}`, digest `{dataset.digest}`"),
        )
    )


def _licence(facts: PackageFacts) -> str:
    licence = facts.release.licence
    link = f" <{licence.url}>" if licence.url else ""
    return (
        f"{prose(licence.text)}.{link}\n\nThe owner of the dataset approved the release (`release_approved: true` in its "
        "`metadata.yaml`). The licence of the base model applies to pictures made with it as well."
    )


def _training(facts: PackageFacts) -> str:
    plan, settings = facts.plan, facts.plan.settings
    environment = facts.environment
    versions = environment.get("versions") or environment.get("packages")
    shown = (
        ", ".join(f"{name} {version}" for name, version in versions.items())
        if isinstance(versions, dict)
        else ""
    )
    return table(
        (
            ("Base model", f"{code(plan.base_model.name)}, SHA-256 `{plan.base_model.sha256}`"),
            ("Engine", prose(f"{plan.engine} {plan.engine_version}")),
            ("Step", f"{facts.step} of {settings.max_train_steps}"),
            ("Why this step", prose(facts.best_reason)),
            ("Kind", "" if facts.kind == LORA else prose(facts.kind)),
            ("Rank and alpha", f"{settings.network_dim} and {settings.network_alpha:g}"),
            ("Rate", prose(f"{settings.unet_lr:g}, {settings.lr_scheduler}, {settings.optimizer_type}")),
            ("Batch", f"{settings.train_batch_size} x {settings.gradient_accumulation_steps}"),
            ("Resolution", f"{settings.resolution} px"),
            ("Seed", str(settings.seed)),
            ("Run", f"`{facts.run_id}`"),
            ("Duration", f"{facts.duration_s / 60:.1f} minutes" if facts.duration_s else ""),
            ("Versions", prose(shown)),
        )
    )


def _measures(facts: PackageFacts) -> str:
    row = facts.validation
    if not row:
        return "This checkpoint was not measured on held-out pictures."
    items = row.get("items") or facts.held_out_images
    said = [
        f"Held out: {items} of {counted(facts.plan.dataset.images, 'picture')}, never trained on, at fixed noise and timesteps "
        f"(seed {facts.plan.settings.validation_seed})."
    ]
    if isinstance(row.get("loss"), (int, float)):
        interval = ""
        if all(isinstance(row.get(name), (int, float)) for name in ("loss_low", "loss_high")):
            interval = f" (95 % interval over pictures: {row['loss_low']:.5f} to {row['loss_high']:.5f})"
        said.append(f"- Held-out loss {row['loss']:.5f}{interval}.")
    if isinstance(row.get("train_loss"), (int, float)):
        said.append(f"- The same measure on as many trained pictures: {row['train_loss']:.5f}.")
    if isinstance(row.get("psnr"), (int, float)):
        said.append(
            f"- PSNR of the one-step prediction on the held-out pictures: {row['psnr']:.2f} dB. It is measured in the "
            "autoencoder's latents with a peak of 2, not in pixels: compare it only with such numbers."
        )
    return said[0] + "\n\n" + "\n".join(said[1:])


def _limits(facts: PackageFacts) -> str:
    lines = [
        f"- Trained on {counted(facts.plan.dataset.images, 'picture')}: poses, outfits and views that are not among them are guessed.",
        f"- Made for {code(facts.plan.base_model.name)}; on other models of the same family the likeness varies.",
    ]
    if not facts.strength.measured:
        lines.append("- The strength was not measured.")
    if not facts.validation:
        lines.append("- Nothing was measured on held-out pictures: whether it overfits is unknown.")
    elif (facts.validation.get("items") or facts.held_out_images) < 5:
        lines.append("- Few pictures were held out, so the interval of the held-out loss is wide.")
    return "\n".join(lines)


def _reproduce(facts: PackageFacts, file_name: str) -> str:
    plan = fenced(facts.plan.to_yaml(), "yaml")
    if names_files_of_this_machine(facts.plan):
        return f"{PATHS_TAKEN_OUT}\n\n{plan}"
    return (
        "The file carries its complete training plan. With the dataset and the base model named above on this machine:\n\n"
        f"    python -m kohya_bridge reproduce {file_name}\n\n"
        "rebuilds the plan, checks both by their digests, and trains. On the same machine and versions the tensors are "
        "identical. This card can be given instead of the file: the plan stands here as well.\n\n"
        f"{plan}"
    )
