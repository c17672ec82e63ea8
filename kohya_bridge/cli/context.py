"""What every verb works with: the workspace, the desk and the output, as the common options ask for them.

In: parsed arguments. Out: a `Context`. The desk is made when a verb first needs it, so that simple verbs stay quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.comfy_folders import ComfyFolders, find_comfy_folders
from ..workspace import Workspace
from .output import Output

if TYPE_CHECKING:
    from ..desk import Desk
    from ..engines.contract import Engine


class Context:
    """See the module. `engines` replaces the registry's."""

    def __init__(self, arguments: argparse.Namespace, *, engines: Mapping[str, Engine] | None = None):
        self.workspace = Workspace.at(arguments.workspace) if arguments.workspace else Workspace.default()
        self.out = Output(as_json=arguments.json)
        self._arguments = arguments
        self._engines = engines

    @cached_property
    def desk(self) -> Desk:
        from ..desk import Desk

        return Desk(
            self.workspace,
            checkpoint_dirs=self.checkpoint_dirs,
            lora_dirs=self.lora_dirs,
            tokenizer_dir=self._folders.tokenizer_dir,
            engines=self._engines,
        )

    @property
    def checkpoint_dirs(self) -> list[Path]:
        """Folders named on the command line first, then ComfyUI's."""
        return [*_absolute(self._arguments.checkpoints), *self._folders.checkpoint_dirs]

    @property
    def lora_dirs(self) -> list[Path]:
        return [*_absolute(self._arguments.loras), *self._folders.lora_dirs]

    @property
    def tokenizer_dir(self) -> Path:
        """CLIP's vocabulary, where ComfyUI carries it; the folder may not exist."""
        return self._folders.tokenizer_dir

    @cached_property
    def _folders(self) -> ComfyFolders:
        return find_comfy_folders()


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options that every verb takes."""
    group = parser.add_argument_group("where and how")
    group.add_argument(
        "--workspace", metavar="DIR", help="workspace (default: $WIZDROID_TRAINING, else training/)"
    )
    group.add_argument(
        "--checkpoints",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder of base models, before ComfyUI's",
    )
    group.add_argument(
        "--loras", metavar="DIR", action="append", default=[], help="a folder of LoRAs, before ComfyUI's"
    )
    group.add_argument("--json", action="store_true", help="answer in lines of JSON")


def _absolute(folders: list[str]) -> list[Path]:
    return [Path(each).expanduser().resolve() for each in folders]
