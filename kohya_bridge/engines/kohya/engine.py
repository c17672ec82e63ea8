"""The kohya engine as the desk knows it: what stands in the way, and how to start the child.

In: a plan and where things lie on this machine. Out: findings, or a command with everything that the child reads staged in
the run folder. Knows no torch; sd-scripts runs in its own interpreter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...architectures import architecture
from ...architectures.base import Architecture, sd_scripts
from ...datasets.dataset_folder import read_dataset
from ...device.description import Device
from ...device.finding import find_device
from ...device.precision import Precision
from ...errors import Unavailable
from ...plan import TrainingPlan, TrainingRequest
from ...run_folder import RunFolder
from ..contract import Command, MachinePaths, Problem, python_module_command, write_child_file
from ..precision_problems import precision_problems
from .checking import plan_problems, suitable_precision
from .checkout import find_checkout, find_interpreter
from .doctor import quick_problems
from .model_files import find_model_files
from .options import ParserOptions, parser_options
from .packages import package_problems
from .render import PROCESSES, Places, script_name
from .staging import Picture, stage
from .tokenizers import build_tokenizers

RUNNER = "kohya_bridge.engines.kohya.runner"


class KohyaEngine:
    """sd-scripts under our runner; implements `contract.Engine`."""

    name = "kohya"

    def version(self) -> str:
        """The commit of the sd-scripts checkout. Raises Unavailable when it or its interpreter is missing."""
        find_interpreter()
        return find_checkout().commit

    def cannot_train(self, family: Architecture, options: Mapping[str, Any]) -> str:
        """A family that sd-scripts has no script for."""
        return "" if family.kohya else f"sd-scripts does not train {family.title}."

    def device(self, cache_dir: Path) -> Device:
        """That of sd-scripts' own torch. Raises Unavailable without its interpreter."""
        return find_device(cache_dir, interpreter=find_interpreter())

    def precision(self, request: TrainingRequest, of_family: Architecture, device: Device) -> Precision:
        return suitable_precision(request.kohya, of_family, device)

    def problems(self, plan: TrainingPlan, paths: MachinePaths) -> list[Problem]:
        """Everything between this plan and its start. The parser's own option list is read once for each commit."""
        try:
            checkout, interpreter = find_checkout(), find_interpreter()
        except Unavailable as error:
            return [Problem("kohya_not_set_up", error.problem, error.fix)]
        problems = quick_problems(checkout)
        if plan.engine_version != checkout.commit:
            problems.append(
                Problem(
                    "other_commit",
                    f"The plan is for sd-scripts {plan.engine_version[:12]}; the checkout is at {checkout.commit[:12]}.",
                    "Check that commit out again, or make a new plan.",
                )
            )
        problems += precision_problems(
            plan.settings.mixed_precision,
            self.device(paths.cache_dir),
            lambda: find_device(paths.cache_dir, interpreter=interpreter, measured=True),
        )
        _, missing = find_model_files(plan, paths)
        problems += [*missing, *package_problems(plan, interpreter)]
        options: ParserOptions | None = None
        try:
            options = parser_options(checkout, interpreter, script_name(plan), cache_dir=paths.cache_dir)
        except Unavailable as error:
            problems.append(Problem("kohya_broken", error.problem, error.fix))
        return problems + plan_problems(plan, paths, options)

    def command(
        self, run: RunFolder, plan: TrainingPlan, paths: MachinePaths, *, resume: Path | None
    ) -> Command:
        """Stage the run and say how to start it. Raises StorageError, Unavailable."""
        checkout, interpreter = find_checkout(), find_interpreter()
        of_family = architecture(plan.base_model.family)
        models, _ = find_model_files(plan, paths)
        tokenizers = build_tokenizers(paths.tokenizer_dir, paths.cache_dir / "kohya" / "tokenizers")
        places = Places(
            # A relative link would be looked up from the wrong folder by upstream: give it the file itself.
            base_model=paths.base_model_file.resolve(),
            staging=run.staging_dir,
            tokenizers=tokenizers if sd_scripts(of_family).takes_tokenizer_folder else None,
            models=models,
        )
        pictures = [
            Picture(each.name, each.file, each.caption) for each in read_dataset(paths.dataset_dir).items
        ]
        staged = stage(plan, pictures, places)
        write_child_file(
            run,
            plan,
            paths,
            resume=resume,
            kohya={
                "sd_scripts": str(checkout.dir),
                "commit": checkout.commit,
                "script": script_name(plan),
                "config_file": str(places.config),
                "name": plan.character,
                "held_out": staged.held_out,
                "sample_prompts": list(staged.samples),
                "sample_every_n_steps": plan.kohya.get("sample_every_n_steps"),
                "sample_every_n_epochs": plan.kohya.get("sample_every_n_epochs"),
            },
        )
        return _launch(run, plan, interpreter)


def _launch(run: RunFolder, plan: TrainingPlan, interpreter: Path) -> Command:
    """One process directly: a signal to `accelerate launch` would leave it running as an orphan, and lose its exit code.
    Several through `accelerate launch`, one for each GPU."""
    processes = int(plan.kohya.get(PROCESSES, 1))
    if processes == 1:
        return python_module_command(RUNNER, str(run.dir), interpreter=str(interpreter))
    launch = (
        "--multi_gpu",
        "--num_processes",
        str(processes),
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    )
    return python_module_command(
        "accelerate.commands.launch",
        *launch,
        "--dynamo_backend",
        "no",
        "-m",
        RUNNER,
        str(run.dir),
        interpreter=str(interpreter),
    )
