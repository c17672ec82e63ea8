"""A usual validation grid for a canvas that has none: the base model's own loaders and the sampling that its family wants.

In: a plan, and whether its base model is a whole checkpoint. Out: a prompt in API form, to be queued for every checkpoint. Which
loaders, sampler and numbers a family takes stands in `architectures`; this knows how ComfyUI's nodes are wired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..architectures import architecture
from ..architectures.base import Architecture, TextLoader
from ..errors import InvalidInput
from ..plan import TrainingPlan
from .held_prompt import Prompt
from .unattended import Unattended

Wire = list[Any]


def usual_grid(plan: TrainingPlan, *, whole: bool, opener: dict[str, Any], grid: str) -> Unattended:
    """2 x 2 cells: two seeds, with and without the LoRA. `opener` is the node that opens the run, `grid` the grid node's type.

    Raises:
        InvalidInput: the family's loaders need a file that the plan does not name, or nobody knows which they are.
    """
    of_family = architecture(plan.base_model.family)
    prompt, model, clip, vae = _loaders(plan, of_family, whole=whole)
    how = of_family.drawing
    if how.shift is not None and not whole:
        prompt["shift"] = {
            "class_type": "ModelSamplingAuraFlow",
            "inputs": {"model": model, "shift": how.shift},
        }
        model = ["shift", 0]
    prompt["run"] = opener
    prompt["grid"] = {
        "class_type": grid,
        "inputs": {
            "run": ["run", 0],
            "model": model,
            "clip": clip,
            "vae": vae,
            "prompts": "",
            "negative": "",
            "checkpoints": "latest",
            "strengths": "1.0",
            "seeds": "1, 2",
            "width": plan.settings.resolution,
            "height": plan.settings.resolution,
            "steps": how.steps,
            "cfg": how.cfg,
            "sampler": how.sampler,
            "scheduler": how.scheduler,
            "trigger_off": False,
        },
    }
    return Unattended(prompt, ("grid",))


def _loaders(plan: TrainingPlan, of_family: Architecture, *, whole: bool) -> tuple[Prompt, Wire, Wire, Wire]:
    """The loader nodes, and what of them are model, CLIP and VAE."""
    how, name, files = of_family.drawing, plan.base_model.name, _named_files(plan)
    checkpoint = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}
    if whole or how.text is None:
        return {"base": checkpoint}, ["base", 0], ["base", 1], ["base", 2]
    needed = [each.option for each in of_family.model_files if each.required]
    missing = [option for option in needed if option not in files]
    if missing or of_family.untried:
        what = f"its {', '.join(missing)}" if missing else "which loaders it needs"
        raise InvalidInput(
            f"No grid can be drawn for {plan.base_model.name} without loaders of your own: {what} is not known.",
            "Connect a LoRA Validate Grid with your own loaders to Kohya Train.",
        )
    text = _text_loader(how.text, [files[option] for option in how.text.files if option in files])
    if not how.vae:
        prompt: Prompt = {"base": checkpoint} | ({"text": text} if text else {})
        return prompt, ["base", 0], ["text", 0] if text else ["base", 1], ["base", 2]
    prompt = {
        "base": {"class_type": "UNETLoader", "inputs": {"unet_name": name, "weight_dtype": "default"}},
        "text": text,
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": files[how.vae]}},
    }
    return prompt, ["base", 0], ["text", 0], ["vae", 0]


_TEXT_LOADERS = ("", "CLIPLoader", "DualCLIPLoader", "TripleCLIPLoader", "QuadrupleCLIPLoader")
"""ComfyUI's loaders by the number of files that they take. The last two know the type by the files."""


def _text_loader(loader: TextLoader, names: Sequence[str]) -> dict[str, Any]:
    """The node that loads so many text encoders; empty for none."""
    if not names:
        return {}
    several = len(names) > 1
    inputs = {f"clip_name{number if several else ''}": name for number, name in enumerate(names, start=1)}
    of_type = {"type": loader.type} if len(names) < 3 else {}
    return {"class_type": _TEXT_LOADERS[len(names)], "inputs": {**inputs, **of_type}}


def _named_files(plan: TrainingPlan) -> dict[str, str]:
    """The plan's further model files by option, wherever its engine keeps them."""
    options = {each.option for each in architecture(plan.base_model.family).model_files}
    among_options = {name: str(value) for name, value in plan.kohya.items() if name in options and value}
    return {**among_options, **{option: file.name for option, file in plan.model_files.items()}}
