"""NativeEngine: the embedded default, as the desk sees it.

In: a plan and this machine's paths. Out: what stands in its way, and the command that starts its child. It imports
neither torch nor diffusers: whether they are there is asked of the package metadata.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...architectures import architecture
from ...architectures.base import Architecture
from ...device.description import CUDA, ROCM, Device
from ...device.finding import find_device
from ...device.precision import Precision, usual
from ...errors import BridgeError
from ...models.base_models import has_text_encoders, is_whole_checkpoint
from ...models.comfy_folders import host_folder
from ...models.family_files import what_is_missing
from ...models.lora_facts import check_lora, read_lora_facts
from ...models.lora_kinds import refuse_unread
from ...models.safetensors_header import read_header
from ...plan import OBJECTIVE_OF_FLOW, TrainingPlan, TrainingRequest, chosen_later_settings
from ...run_folder import RunFolder
from ...settings import TrainingSettings
from ..contract import Command, MachinePaths, Problem, python_module_command, unless_set, write_child_file
from ..precision_problems import precision_problems
from .host_problems import host_problems

VERSION = "1"
"""Part of every plan: raise it when the same plan would train to other weights, so that it becomes another run."""

SIDES = ("diffusers", "host")
"""The sides that this engine has: where the models of a family come from."""

REQUIRED_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy", "PIL")
OPTIMISER_PACKAGES = {
    "AdamW8bit": ("bitsandbytes", "bitsandbytes"),
    "Lion": ("lion_pytorch", "lion-pytorch"),
    "Prodigy": ("prodigyopt", "prodigyopt"),
    "AdamWScheduleFree": ("schedulefree", "schedulefree"),
}
"""Optimiser to (module, package on PyPI), where it needs one beyond torch and transformers."""


class NativeEngine:
    """See `contract.Engine`."""

    name = "native"

    def version(self) -> str:
        return VERSION

    def cannot_train(self, family: Architecture, options: Mapping[str, Any]) -> str:
        """A family that neither of its sides knows, and options that exist in sd-scripts only."""
        if family.trainable is None:
            return family.not_trainable
        if family.trainable not in SIDES:
            return f"The native engine can't train {family.title} through ComfyUI's own models yet."
        own = {each.option for each in family.model_files} if family.trainable == "host" else set()
        foreign = sorted(set(options) - own)
        return f"These options exist in sd-scripts only: {', '.join(foreign)}." if foreign else ""

    def device(self, cache_dir: Path) -> Device:
        return find_device(cache_dir)

    def precision(self, request: TrainingRequest, of_family: Architecture, device: Device) -> Precision:
        return usual(device)

    def problems(self, plan: TrainingPlan, paths: MachinePaths) -> list[Problem]:
        """Everything that stands between this plan and its start here, all at once."""
        settings, of_family = plan.settings, architecture(plan.base_model.family)
        missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            fix = f"Install them into ComfyUI's Python: pip install {' '.join(missing).replace('PIL', 'pillow')}"
            return [Problem("packages", f"The native engine needs {', '.join(missing)}.", fix)]
        device = self.device(paths.cache_dir)
        return [
            *_plan_problems(plan),
            *_objective_problems(settings, of_family),
            *_optimiser_problems(settings),
            *precision_problems(
                settings.mixed_precision, device, lambda: find_device(paths.cache_dir, measured=True)
            ),
            *_device_problems(settings, device),
            *_file_problems(settings, paths, plan.base_model.family),
            *_model_file_problems(plan, paths),
            *(host_problems(plan, paths) if of_family.trainable == "host" else ()),
        ]

    def command(
        self, run: RunFolder, plan: TrainingPlan, paths: MachinePaths, *, resume: Path | None
    ) -> Command:
        """How to start the child; `child.json` is written."""
        host = host_folder(paths.tokenizer_dir)
        if host and architecture(plan.base_model.family).trainable == "host":
            paths = replace(paths, extra={**paths.extra, "comfyui_dir": str(host)})
        write_child_file(run, plan, paths, resume=resume)
        command = python_module_command("kohya_bridge.engines.native", str(run.dir))
        # cuBLAS is deterministic only with a fixed workspace.
        environment = {**command.environment, **unless_set(CUBLAS_WORKSPACE_CONFIG=":4096:8")}
        return Command(command.argv, command.cwd, environment)


def _plan_problems(plan: TrainingPlan) -> list[Problem]:
    found = []
    of_family = architecture(plan.base_model.family)
    why_not = NativeEngine().cannot_train(of_family, {})
    if why_not:
        fix = "Choose the kohya engine." if of_family.kohya else "Choose a base model of another family."
        found.append(Problem("family", why_not, fix))
    if plan.kohya:
        problem = f"These options exist in sd-scripts only: {', '.join(sorted(plan.kohya))}."
        found.append(Problem("kohya_options", problem, "Choose the kohya engine, or leave them out."))
    if plan.settings.diff_output_preservation_multiplier and not plan.dataset.trigger:
        problem = "diff_output_preservation_multiplier is on, and the dataset names no trigger: there is nothing to leave out."
        fix = "Write `lora_tag` into the dataset's metadata.yaml, or set it to 0."
        found.append(Problem("preservation", problem, fix))
    return found


def _objective_problems(settings: TrainingSettings, of_family: Architecture) -> list[Problem]:
    """What this family's objective has no use for, as advice."""
    if of_family.flow:
        off = {"min_snr_gamma": 0.0, "prediction_type": "epsilon", "zero_terminal_snr": False}
        idle = [name for name, value in off.items() if getattr(settings, name) != value]
        why = "it is a flow model"
    else:
        idle, why = chosen_later_settings(settings, OBJECTIVE_OF_FLOW), "it is not a flow model"
    problems = [f"{name} has no effect on {of_family.title}: {why}." for name in idle]
    return [Problem("no_effect", each, "", blocks=False) for each in problems]


def _optimiser_problems(settings: TrainingSettings) -> list[Problem]:
    found, name = [], settings.optimizer_type
    module, package = OPTIMISER_PACKAGES.get(name, ("torch", "torch"))
    if importlib.util.find_spec(module) is None:
        fix = f"Install it into ComfyUI's Python (pip install {package}), or set optimizer_type to AdamW."
        found.append(Problem("optimiser_package", f"optimizer_type {name} needs the package {package}.", fix))
    rates = [settings.unet_lr] + ([] if settings.network_train_unet_only else [settings.text_encoder_lr])
    if name == "Prodigy" and len(set(rates)) > 1:
        problem = f"Prodigy finds one rate for all; unet_lr is {rates[0]:g} and text_encoder_lr {rates[1]:g}."
        found.append(Problem("prodigy_rates", problem, "Set both to 1.0."))
    elif name == "Prodigy" and rates[0] < 0.1:
        problem = f"Prodigy multiplies its own rate by unet_lr, which is {rates[0]:g}: it would hardly learn."
        found.append(Problem("prodigy_rate", problem, "Set unet_lr to 1.0.", blocks=False))
    return found


def _device_problems(settings: TrainingSettings, device: Device) -> list[Problem]:
    found = []
    has_kernels = device.kind in (CUDA, ROCM)
    if settings.attention == "xformers" and not (has_kernels and importlib.util.find_spec("xformers")):
        lacking = "the package xformers" if has_kernels else "an NVIDIA or AMD GPU"
        problem = f"attention is xformers, which needs {lacking}."
        found.append(Problem("attention", problem, "Set attention to sdpa: it needs nothing."))
    if not device.is_gpu:
        problem = "There is no GPU: full-size models train on the CPU, at minutes a step."
        found.append(Problem("no_gpu", problem, "Fine for small models and trials.", blocks=False))
    return found


def _file_problems(settings: TrainingSettings, paths: MachinePaths, family: str) -> list[Problem]:
    found = []
    for name, what in (("network_weights", "LoRA to start from"), ("base_weights", "training adapter")):
        digest = getattr(settings, name)
        if digest and not Path(paths.extra.get(name, "")).is_file():
            problem = f"The {what} ({digest[:12]}) is not in a LoRA folder."
            found.append(Problem(name, problem, f"Put it there, or empty {name}."))
        elif digest and (why := _unfit(Path(paths.extra[name]), family)):
            found.append(Problem(name, f"The {what} does not fit: {why}", "Choose a LoRA of this family."))
    return found


def _unfit(file: Path, family: str) -> str:
    """Why a LoRA file can't go on a model of that family, as a sentence; empty where it may, or says nothing of its family."""
    try:
        refuse_unread(read_header(file).tensors, file.name)
    except BridgeError as error:
        return error.problem
    if wrong := check_lora(file):
        return wrong[0]
    made_for = read_lora_facts(file).family
    if made_for in (None, family):
        return ""
    related = {architecture(made_for).trainable, architecture(family).trainable} == {"host"}
    return (
        ""
        if related
        else f"{file.name} was made for {architecture(made_for).title}, the base model is {architecture(family).title}."
    )


def _model_file_problems(plan: TrainingPlan, paths: MachinePaths) -> list[Problem]:
    """Text encoders and VAEs that the family needs beside a bare diffusion model, and that were neither named nor found."""
    of_family = architecture(plan.base_model.family)
    if of_family.trainable != "host" or is_whole_checkpoint(paths.base_model_file):
        return []
    found = []
    for each in of_family.model_files:
        if each.required and not Path(paths.extra.get(each.option, "")).is_file():
            problem, listed = what_is_missing(each, "", paths.base_model_file, paths.extra)
            fix = f"Choose it in Kohya Model Files, or set model_files.{each.option} to a file name. {listed}"
            found.append(Problem("model_file_missing", problem, fix))
    return found or _text_encoder_problems(of_family, paths)


def _text_encoder_problems(of_family: Architecture, paths: MachinePaths) -> list[Problem]:
    """Where a family can do without each of its text encoders: that it has none at all, neither inside nor beside the model."""
    options = of_family.drawing.text.files if of_family.drawing.text else ()
    if not options or any(Path(paths.extra.get(option, "")).is_file() for option in options):
        return []
    if has_text_encoders(paths.base_model_file):
        return []
    titles = [of_family.file(option).title for option in options]
    return [
        Problem(
            "model_file_missing",
            f"{paths.base_model_file.name} has no text encoders inside, and none was chosen.",
            f"Choose {', '.join(titles[:-1])} or {titles[-1]}, as many as you draw with, in Kohya Model Files; or take a checkpoint that "
            "has them inside.",
        )
    ]
