"""Loading sd-scripts into this process, and the one tolerance that its imports need.

In: the checkout's folder and a script's name. Out: the script's module, `train_util` and the script's trainer class. No
file of the checkout is changed.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..child import ChildFailure


@dataclass(frozen=True)
class Upstream:
    script: Any
    train_util: Any
    trainer_class: type


def load_upstream(checkout: Path, script: str) -> Upstream:
    """Import `script` (without `.py`) of the checkout.

    Raises:
        ChildFailure: a package is missing or the script has no trainer class.
    """
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    make_torchvision_importable()
    try:
        module = importlib.import_module(script)
        train_util = importlib.import_module("library.train_util")
        base = importlib.import_module("train_network").NetworkTrainer
    except ModuleNotFoundError as error:
        raise ChildFailure(
            f"The package {error.name} is missing from the kohya trainer's interpreter.",
            "Run `make kohya` again, or install it into .venv-kohya.",
            code="missing_package",
        ) from error
    classes = [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, base) and each.__module__ == module.__name__
    ]
    if not classes:
        raise ChildFailure(
            f"{script}.py of this checkout has no network trainer.",
            "Use the pinned sd-scripts commit (`make kohya`).",
            code="foreign_checkout",
        )
    return Upstream(module, train_util, classes[0])


def make_torchvision_importable() -> None:
    """Let a torchvision of another build than torch's be imported.

    sd-scripts takes only pure-Python transforms from it. A CUDA build beside a CPU torch fails at import because its
    compiled operators are unknown; declaring their names is enough for the Python part.
    """
    try:
        importlib.import_module("torchvision")
        return
    except ModuleNotFoundError:
        return  # sd-scripts' own import will say so
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [each for each in sys.modules if each.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torch

    operators: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(operators)  # the declaration lasts as long as this object
    importlib.import_module("torchvision")


_KEPT: list[Any] = []


def parse_arguments(upstream: Upstream, config_file: Path) -> Any:
    """The script's own arguments from our rendered TOML, as its `__main__` block would read them.

    Raises:
        ChildFailure: the TOML names an option that this parser does not have (upstream itself would ignore it).
    """
    parser = upstream.script.setup_parser()
    known = {action.dest for action in parser._actions}
    sys.argv = [f"{upstream.script.__name__}.py", "--config_file", str(config_file)]
    arguments = parser.parse_args()
    upstream.train_util.verify_command_line_training_args(arguments)
    arguments = upstream.train_util.read_config_from_file(arguments, parser)
    unknown = sorted(set(vars(arguments)) - known)
    if unknown:
        raise ChildFailure(
            f"This sd-scripts has no option {', '.join(unknown)}.",
            "Use the pinned commit, or take the option out of the plan's kohya section.",
            code="bad_option",
        )
    if getattr(arguments, "attn_mode", None) == "sdpa":
        arguments.attn_mode = "torch"  # as the scripts that have this option do themselves
    return arguments
