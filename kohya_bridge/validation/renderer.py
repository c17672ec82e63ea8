"""Rendering a grid without a running ComfyUI: a child process loads the base model and renders, this side only asks and waits.

In: a run, a `GridPlan`, where the models lie. Out: pictures by render key. Torch is never imported here. What
was rendered before in the same way is taken from the validation folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from .. import json_text
from ..architectures import architecture
from ..datasets.pictures import opened
from ..engines.contract import MachinePaths, python_module_command
from ..errors import BridgeError, FieldProblem, InvalidInput, Unavailable
from ..files import Tree, open_named
from ..models.comfy_folders import host_folder
from ..plan import TrainingPlan
from ..run_folder import RunFolder
from .cells import GridPlan, Render
from .manifest import Sampling
from .save import find_rendered

SAMPLERS = ("euler", "ddim", "dpmpp_2m")
SCHEDULERS = ("normal", "karras")
LOG_NAME = "render.log"


class RenderingFailed(BridgeError):
    """The child could not render; its own sentence says why."""


def render_grid(
    run: RunFolder,
    grid: GridPlan,
    *,
    sampling: Sampling,
    paths: MachinePaths,
    folder: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Image.Image]:
    """Pictures of all renders. `folder` is the run's validation folder; `on_progress` hears (done, total) pictures.

    Raises:
        InvalidInput: a sampler, scheduler or size that can't be.
        Unavailable: the family is drawn by ComfyUI's own models, and no ComfyUI was found.
        RenderingFailed: the child failed; the log is `render.log` in `folder`.
    """
    plan = run.plan()
    by_host = is_drawn_by_host(plan)
    check_sampling(sampling, names=not by_host)
    pictures = find_rendered(folder, grid, sampling)
    missing = [each for each in grid.renders if each.key not in pictures]
    if missing:
        with tempfile.TemporaryDirectory(prefix="render-") as out_dir:
            job = _job(run, plan, missing, sampling, paths, Path(out_dir))
            if by_host:
                job["files"] = _files_of_host(plan, paths)
            _run_child(job, Path(out_dir), folder / LOG_NAME, on_progress)
            for each in missing:
                with open_named(Path(out_dir) / f"{each.key}.png") as stream, opened(stream) as picture:
                    pictures[each.key] = picture.convert("RGB")
    return pictures


def is_drawn_by_host(plan: TrainingPlan) -> bool:
    """Whether the pictures are ComfyUI's own, made by the code in its folder."""
    return architecture(plan.base_model.family).trainable == "host"


def check_sampling(sampling: Sampling, *, names: bool = True) -> None:
    """Raises InvalidInput with everything that can't be rendered; with `names`, by diffusers' side."""
    problems = []
    if names and sampling.sampler not in SAMPLERS:
        problems.append(
            FieldProblem("sampler", sampling.sampler, "is not known here.", f"Use {', '.join(SAMPLERS)}.")
        )
    if names and sampling.scheduler not in SCHEDULERS:
        problems.append(
            FieldProblem(
                "scheduler", sampling.scheduler, "is not known here.", f"Use {', '.join(SCHEDULERS)}."
            )
        )
    for name, pixels in (("width", sampling.width), ("height", sampling.height)):
        if pixels % 8 or not 64 <= pixels <= 4096:
            problems.append(
                FieldProblem(
                    name, pixels, "it is not a possible size.", "Use a multiple of 8 from 64 to 4096."
                )
            )
    if not 1 <= sampling.steps <= 1000:
        problems.append(FieldProblem("steps", sampling.steps, "is out of range.", "Use 1 to 1000."))
    if problems:
        raise InvalidInput("These pictures can't be rendered:", "Correct these values.", problems=problems)


def _job(
    run: RunFolder,
    plan: TrainingPlan,
    renders: list[Render],
    sampling: Sampling,
    paths: MachinePaths,
    out_dir: Path,
) -> dict[str, Any]:
    return {
        "base_model_file": str(paths.base_model_file),
        "tokenizer_dir": str(paths.tokenizer_dir),
        "family": plan.base_model.family,
        "mixed_precision": plan.settings.mixed_precision,
        "clip_skip": plan.settings.clip_skip,
        "max_token_length": plan.settings.max_token_length,
        "out_dir": str(out_dir),
        **sampling.model_dump(include={"sampler", "scheduler", "steps", "cfg", "width", "height"}),
        "renders": [
            {
                "key": each.key,
                "prompt": each.prompt.text,
                "negative": each.prompt.negative,
                "seed": each.seed,
                "strength": each.strength,
                "lora_file": str(run.weights_of(each.checkpoint.file)) if each.checkpoint else None,
            }
            for each in renders
        ],
    }


def _files_of_host(plan: TrainingPlan, paths: MachinePaths) -> dict[str, str]:
    """Where ComfyUI and the family's files lie."""
    host = host_folder(paths.tokenizer_dir)
    if host is None:
        title = architecture(plan.base_model.family).title
        raise Unavailable(
            f"{title} is drawn by ComfyUI's own models, and no ComfyUI was found.",
            "Set COMFYUI_DIR to its folder, or connect LoRA Validate Grid in ComfyUI. --no-pictures checks the checkpoints alone.",
        )
    return {
        **paths.extra,
        "base_model_file": str(paths.base_model_file),
        "cache_dir": str(paths.cache_dir),
        "comfyui_dir": str(host),
    }


def _run_child(
    job: dict[str, Any], out_dir: Path, log_file: Path, on_progress: Callable[[int, int], None]
) -> None:
    job_file = out_dir / "job.json"
    job_file.write_text(json_text.write(job), encoding="utf-8")
    command = python_module_command("kohya_bridge.engines.native.render", str(job_file))
    said: dict[str, Any] = {}
    with Tree(log_file.parent).create(log_file) as log:
        child = subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env={**os.environ, **command.environment},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
        )
        try:
            for line in child.stdout or ():
                said = _message(line) or said
                if "done" in said:
                    on_progress(said["done"], said["total"])
            status = child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if status != 0:
        raise RenderingFailed(
            said.get("problem") or f"Rendering ended with status {status}.",
            said.get("fix") or f"Its log is {LOG_NAME} in the validation folder.",
        )


def _message(line: str) -> dict[str, Any] | None:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None  # a library that prints to stdout
    return data if isinstance(data, dict) else None
