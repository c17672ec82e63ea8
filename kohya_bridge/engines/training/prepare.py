"""Everything between the child's start and its first step: data, cache, model, LoRA, optimiser, and a state to go on from.

In: what the child was told. Out: a `Training` that knows how to compute one micro-batch's loss. Parts of the base model
are loaded when they are needed and let go before the next: the text encoders never lie beside the U-Net unless trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ...counted import counted
from ...datasets.caption_variation import captions_vary
from ...device.accelerator import Accelerator
from ...files import Tree
from ...plan import TrainingPlan
from ...settings import TrainingSettings
from ...trigger import without
from ..child import Child, StopRequested
from .base_weights import put_beside
from .batches import BatchMaker, Sources
from .cache import TensorCache
from .data import Picker, Split, read_items, split_items
from .encoding import Encodings, Keys
from .environment import write_environment
from .held_out import HeldOut
from .lora import LoraNetwork, add_lora
from .lora_file import read_lora
from .model import ModelSide, TrainableModel
from .objective import Objective
from .optimisers import FlatWeights, Optimiser
from .precision import compute_dtype
from .ranks import Ranks
from .state import Trained, read_state
from .training import Training

Opener = Callable[[TrainingPlan, Mapping[str, Path], torch.dtype, torch.device], ModelSide]
"""(plan, paths, compute format, device) to the base model's side. Nothing is loaded yet."""


def prepare(child: Child, ranks: Ranks, open_side: Opener) -> Training:
    """Load and build everything. Reports its phases; a stop that is asked for meanwhile ends it between two of them."""
    plan = TrainingPlan.model_validate(child.told["plan"])
    paths = {name: Path(value) for name, value in child.told["paths"].items()}
    settings, device = plan.settings, ranks.device
    accelerator = Accelerator.of(torch, device)
    accelerator.make_repeatable()
    dtype = compute_dtype(settings.mixed_precision, device)

    side = open_side(plan, paths, dtype, device)
    split = split_items(read_items(paths["dataset_dir"], settings), settings)
    stop_if_asked(child, ranks)
    encodings = Encodings(TensorCache(paths["cache_dir"] / "encodings"), Keys(settings, side.digest))
    if ranks.speaks:
        _fill(encodings, split, plan, side, child)
    ranks.agree(set())  # the others wait until the cache is complete, and then find it so
    if not ranks.speaks:
        _fill(encodings, split, plan, side, child)
    child.report.phase("loading")
    more = side.environment()
    if more and ranks.speaks:
        write_environment(Tree(child.run_dir), device=device, more=more)
    _prove(side, encodings, split, settings, child)
    model = side.load_model(_parts_of_every_step(settings))
    stop_if_asked(child, ranks)
    network = add_lora(model, settings, seed=settings.seed)
    if settings.network_weights:
        _start_from(network, paths["network_weights"], child)
    if settings.base_weights:
        _put_beside(network, paths["base_weights"], settings.base_weights_multiplier, child)
    model.arrange(settings)
    weights = FlatWeights(network.groups())
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    trained = Trained(network, weights, Optimiser(weights, settings), scaler, plan.run_id)
    objective = model.objective(settings, device)
    training = Training(
        plan=plan,
        model=model,
        trained=trained,
        objective=objective,
        split=split,
        maker=_maker(plan, split, model, encodings, objective, ranks),
        held_out=None,
        encodings=encodings,
        load_encoders=side.load_encoders,
        ranks=ranks,
        first_step=read_state(Path(child.told["resume"]), trained) if child.told.get("resume") else 0,
    )
    training.held_out = _held_out(training)
    return training


def _prove(
    side: ModelSide, encodings: Encodings, split: Split, settings: TrainingSettings, child: Child
) -> None:
    """Have the side show what it has to show, on the first picture."""
    if not (settings.cache_latents and text_is_cached(settings)):
        return
    item = split.trained[0]

    def tell(problem: str, fix: str, code: str) -> None:
        child.report.notice(problem, fix, code=code)

    side.prove(encodings.latents(item, False), encodings.text(item.caption), tell)


def _start_from(network: LoraNetwork, file: Path, child: Child) -> None:
    """Begin with the weights of a LoRA file instead of zeros."""
    foreign = network.start_from(read_lora(file)[0])
    if foreign:
        child.report.notice(
            f"{counted(len(foreign), 'layer of', 'layers of')} {file.name} {'is' if len(foreign) == 1 else 'are'} not trained here and left out, such as {foreign[0]}.",
            "Switch text encoders or convolutions on if they should go on training.",
            code="left_out_layers",
        )


def _put_beside(network: LoraNetwork, file: Path, multiplier: float, child: Child) -> None:
    """Have a training adapter on while training."""
    homeless = put_beside(network, read_lora(file)[0], multiplier)
    if homeless:
        child.report.notice(
            f"{counted(len(homeless), 'layer of', 'layers of')} {file.name} (base_weights) {'is' if len(homeless) == 1 else 'are'} not trained here and left out, such as {homeless[0]}.",
            "Train with a training adapter that was made for this model.",
            code="left_out_layers",
        )


def stop_if_asked(child: Child, ranks: Ranks) -> None:
    """Leave before the first step, where there is nothing to save that is not saved."""
    if "stop" in ranks.agree(child.controls.wanted() if ranks.speaks else set()):
        raise StopRequested("Stopped on request before the first step.")


def _fill(encodings: Encodings, split: Split, plan: TrainingPlan, side: ModelSide, child: Child) -> None:
    settings, trigger = plan.settings, _left_out(plan)
    items = (*split.trained, *split.held_out)
    mirrored = (False, True) if settings.flip_aug else (False,)
    uses = [(item, flipped) for item in items for flipped in mirrored] if settings.cache_latents else []
    captions = [*(item.caption for item in items), ""] if text_is_cached(settings) else []
    captions += [without(caption, trigger) for caption in captions]

    def told(done: int, total: int) -> None:
        child.report.phase("caching", done=done, total=total)
        if "stop" in child.controls.wanted():
            raise StopRequested("Stopped on request while caching; what is cached stays.")

    encodings.fill(uses, captions, load=side.load_encoders, told=told)


def _left_out(plan: TrainingPlan) -> str:
    """The trigger, if what the base model says without it is to be preserved."""
    return plan.dataset.trigger if plan.settings.diff_output_preservation_multiplier else ""


def text_is_cached(settings: TrainingSettings) -> bool:
    """Whether every caption's outputs are known before the first step."""
    changes = not settings.network_train_unet_only or captions_vary(settings)
    return settings.cache_text_encoder_outputs and not changes


def _parts_of_every_step(settings: TrainingSettings) -> set[str]:
    return {
        name
        for name, needed in (("vae", not settings.cache_latents), ("text", not text_is_cached(settings)))
        if needed
    }


def _maker(
    plan: TrainingPlan,
    split: Split,
    model: TrainableModel,
    encodings: Encodings,
    objective: Objective,
    ranks: Ranks,
) -> BatchMaker:
    settings = plan.settings
    cached_text = text_is_cached(settings)
    sources = Sources(
        latents=encodings.latents if settings.cache_latents else None,
        text=encodings.text if cached_text else None,
        tokenize=None if cached_text else model.encoders.tokens,
    )
    return BatchMaker(
        picker=Picker(split.trained, settings),
        settings=settings,
        sources=sources,
        objective=objective,
        latent_shape=model.latent_shape,
        pin=Accelerator.of(torch, ranks.device).can_pin,
        left_out=_left_out(plan),
        per_step=settings.gradient_accumulation_steps * ranks.world,
    )


def _held_out(training: Training) -> HeldOut | None:
    if not training.split.held_out:
        return None
    settings = training.settings
    return HeldOut(
        items=training.split.held_out,
        probe=training.split.probe,
        seed=settings.validation_seed,
        model=training.model,
        objective=training.objective,
        latents=training.clean_latents,
        condition=training.condition,
        device=training.device,
        at_once=min(4, settings.train_batch_size),
    )
