"""The hook points: every name of sd-scripts that we wrap or override, and every line of its loop that we rely on.

In: a checkout's source, or the imported modules. Out: what is missing or has moved. The review command compares two
commits by this list, the doctor and the setup's smoke test check one, and the trainer double is held to it.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAINER = "train_network.py"
TRAIN_UTIL = "library/train_util.py"


@dataclass(frozen=True)
class HookPoint:
    """A function or class of upstream. `parameters` are the ones that we name or count on, in order."""

    file: str
    name: str
    parameters: tuple[str, ...]
    why: str

    @property
    def owner(self) -> str:
        return self.name.split(".")[0]


HOOK_POINTS: tuple[HookPoint, ...] = (
    HookPoint(TRAINER, "setup_parser", (), "the list of options"),
    HookPoint(TRAINER, "NetworkTrainer.train", ("self", "args"), "the training itself"),
    HookPoint(
        TRAINER,
        "NetworkTrainer.load_target_model",
        ("self", "args", "weight_dtype", "accelerator"),
        "loading phase",
    ),
    HookPoint(
        TRAINER,
        "NetworkTrainer.cache_text_encoder_outputs_if_needed",
        ("self", "args", "accelerator"),
        "a stop between models and training",
    ),
    HookPoint(
        TRAINER,
        "NetworkTrainer.post_process_network",
        ("self", "args", "accelerator", "network"),
        "names of the parameter groups",
    ),
    HookPoint(
        TRAINER, "NetworkTrainer.all_reduce_network", ("self", "accelerator", "network"), "25 ms a step saved"
    ),
    HookPoint(TRAINER, "NetworkTrainer.process_batch", ("self", "batch"), "the loss of each micro-batch"),
    HookPoint(
        TRAINER,
        "NetworkTrainer.get_noise_pred_and_target",
        ("self", "args", "accelerator", "noise_scheduler", "latents", "batch"),
        "the held-out measure",
    ),
    HookPoint(
        TRAINER,
        "NetworkTrainer.sample_images",
        ("self", "accelerator", "args", "epoch", "global_step"),
        "the step boundary",
    ),
    HookPoint(
        TRAINER,
        "NetworkTrainer.accelerator_logging",
        ("self", "accelerator", "logs", "step_value", "global_step", "epoch", "val_step"),
        "true steps in TensorBoard and W&B",
    ),
    HookPoint(TRAIN_UTIL, "prepare_accelerator", ("args",), "the accelerator"),
    HookPoint(TRAIN_UTIL, "resume_from_local_or_hf_if_specified", ("accelerator", "args"), "a right resume"),
    HookPoint(
        TRAIN_UTIL,
        "init_trackers",
        ("accelerator", "args", "default_tracker_name"),
        "the last call before the loop",
    ),
    HookPoint(
        TRAIN_UTIL,
        "get_optimizer_train_eval_fn",
        ("optimizer", "args"),
        "sampling with schedule-free optimisers",
    ),
    HookPoint(
        TRAIN_UTIL,
        "collator_class.__init__",
        ("self", "epoch", "step", "dataset"),
        "true epochs in data sets",
    ),
    HookPoint(TRAIN_UTIL, "calculate_sha256", ("filename",), "8 seconds of start-up saved"),
    HookPoint(TRAIN_UTIL, "read_config_from_file", ("args", "parser"), "the rendered configuration"),
    HookPoint(TRAIN_UTIL, "verify_command_line_training_args", ("args",), "as upstream's main block does"),
    HookPoint(TRAIN_UTIL, "BaseDataset.set_current_epoch", ("self", "epoch"), "the order of a resumed epoch"),
)

# Pieces of `NetworkTrainer.train` that must stand there in this order.
TRAIN_ORDER: tuple[str, ...] = (
    "train_util.prepare_accelerator(args)",
    "self.load_target_model(args",
    "self.cache_text_encoder_outputs_if_needed(",
    "self.post_process_network(args, accelerator, network",
    "train_util.get_optimizer_train_eval_fn(optimizer, args)",
    "train_util.get_scheduler_fix(args, optimizer",
    "network, optimizer, train_dataloader, val_dataloader, lr_scheduler = accelerator.prepare(",
    "train_util.resume_from_local_or_hf_if_specified(accelerator, args)",
    "math.ceil(args.max_train_steps / num_update_steps_per_epoch)",
    "train_util.init_trackers(accelerator, args",
    "self.sample_images(accelerator, args, 0, global_step",
    "for epoch in range(epoch_to_start, num_train_epochs)",
    "is_train=True",
    "accelerator.backward(loss)",
    "if accelerator.sync_gradients:",
    "global_step += 1",
    "accelerator, args, None, global_step",
    "args.save_every_n_steps is not None and global_step % args.save_every_n_steps == 0",
    "if args.save_state:",
    "self.step_logging(accelerator, logs, global_step, epoch + 1)",
    "args.validate_every_n_steps is not None and global_step % args.validate_every_n_steps == 0",
    "is_train=False",
    '"loss/validation/step_average"',
    "if global_step >= args.max_train_steps:",
    "args.validate_every_n_epochs",
    "accelerator.end_training()",
    "args.save_state or args.save_state_on_train_end",
)


BEFORE_A_MOVE = (
    "The hook points: `review` says which moved and which have other code.",
    "Resume: an interrupted run ends with the bytes of a straight one (tests/kohya/test_real_sd_scripts.py), random states included.",
    "Options: the parser's list is read anew (`options.py`); those that were renamed keep their meaning in older plans, or say so.",
    "LoKr for Anima (0.12.3): what its file's tensors are called (`models/lora_keys.py`), and whether ComfyUI loads them without an unknown key.",
    "Compilation block by block (0.12.3): that checkpointing, sampling between two steps and lending the GPU still work with it.",
    "Swapping blocks between memories (0.12.3): that pausing and lending leave the GPU empty and put every block back.",
    "Packages: what requirements.txt asks for now (`environments`), and that states are still read as tensors alone.",
)
"""What has to be looked at before the pin moves to a newer commit, beyond what can be computed. Older plans keep their commit."""


@dataclass(frozen=True)
class Seen:
    """A hook point in a source: its parameters and a digest of its code."""

    parameters: tuple[str, ...]
    digest: str


def read_surface(sources: dict[str, str]) -> dict[str, Seen]:
    """Every hook point that is in these sources (file name to text)."""
    found: dict[str, Seen] = {}
    for file, text in sources.items():
        functions = _functions(ast.parse(text))
        for point in HOOK_POINTS:
            if point.file == file and point.name in functions:
                node = functions[point.name]
                digest = hashlib.sha256(ast.dump(node).encode()).hexdigest()[:12]
                found[point.name] = Seen(tuple(each.arg for each in node.args.args), digest)
    return found


def moved(sources: dict[str, str]) -> list[str]:
    """What our hooks rely on and these sources do not have, as sentences. Empty when everything is in its place."""
    surface = read_surface(sources)
    found = []
    for point in HOOK_POINTS:
        seen = surface.get(point.name)
        if seen is None:
            found.append(f"{point.file}: {point.name} is gone ({point.why}).")
        elif seen.parameters[: len(point.parameters)] != point.parameters:
            now = ", ".join(seen.parameters)
            found.append(f"{point.file}: {point.name} takes ({now}) now ({point.why}).")
    return found + _out_of_order(sources.get(TRAINER, ""))


def _out_of_order(trainer: str) -> list[str]:
    start = trainer.find("    def train(self, args)")
    place, found = max(start, 0), []
    for piece in TRAIN_ORDER:
        at = trainer.find(piece, place)
        if at < 0:
            found.append(f"{TRAINER}: `{piece}` is not where it was in NetworkTrainer.train.")
        else:
            place = at
    return found


def checkout_sources(checkout: Path) -> dict[str, str]:
    """The two files with hook points, of a checkout on disk; missing files are empty."""
    return {
        file: (checkout / file).read_text("utf-8") if (checkout / file).is_file() else ""
        for file in (TRAINER, TRAIN_UTIL)
    }


def missing_at_runtime(upstream: Any) -> list[str]:
    """Hook points that the imported modules lack: the smoke test of a setup."""
    trainer = inspect.getmodule(upstream.trainer_class)
    places = {TRAINER: trainer, TRAIN_UTIL: upstream.train_util}
    found = []
    for point in HOOK_POINTS:
        there: Any = places[point.file]
        for part in point.name.split("."):
            there = getattr(there, part, None)
        if there is None:
            found.append(point.name)
    return found


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found.update(
            {f"{owner.name}.{node.name}": node for node in owner.body if isinstance(node, ast.FunctionDef)}
        )
    return found
