"""A usual validation grid for a canvas that has none: the base model's own loaders and the sampling that its family wants.

In: a plan, and whether its base model is a whole checkpoint. Out: a prompt in API form, to be queued for every checkpoint. Which
loaders, sampler and numbers a family takes stands in `architectures`; this knows how ComfyUI's nodes are wired.
"""

from __future__ import annotations

from typing import Any

from ..architectures import architecture
from ..architectures.base import Architecture
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
    how, name = of_family.drawing, plan.base_model.name
    if whole or how.text is None:
        loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}
        return {"base": loader}, ["base", 0], ["base", 1], ["base", 2]
    files = _named_files(plan)
    missing = [option for option in (*how.text.files, how.vae) if option not in files]
    if missing or of_family.untried:
        what = f"its {', '.join(missing)}" if missing else "which loaders it needs"
        raise InvalidInput(
            f"No grid can be drawn for {plan.base_model.name} by itself: {what} is not known.",
            "Connect a LoRA Validate Grid with your own loaders to Kohya Train.",
        )
    inputs = {
        ("clip_name" if len(how.text.files) == 1 else f"clip_name{number}"): files[option]
        for number, option in enumerate(how.text.files, start=1)
    }
    prompt: Prompt = {
        "base": {"class_type": "UNETLoader", "inputs": {"unet_name": name, "weight_dtype": "default"}},
        "text": {"class_type": how.text.node, "inputs": {**inputs, "type": how.text.type}},
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": files[how.vae]}},
    }
    return prompt, ["base", 0], ["text", 0], ["vae", 0]


def _named_files(plan: TrainingPlan) -> dict[str, str]:
    """The plan's further model files by option, wherever its engine keeps them."""
    options = {each.option for each in architecture(plan.base_model.family).model_files}
    among_options = {name: str(value) for name, value in plan.kohya.items() if name in options and value}
    return {**among_options, **{option: file.name for option, file in plan.model_files.items()}}
