"""Where things lie on this machine: the workspace and ComfyUI's model folders.

In: what the host or a shell found. Out: one value that is handed to whoever looks a name up. No part of a run's identity.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..workspace import Workspace
from .model_files import base_model_dirs

LEAST_FREE_BYTES = 500_000_000
"""What a disk must keep free for the system and everybody else."""
FOLDER_KEY = "folder."
"""Before a folder's name in `MachinePaths.extra`."""
IMPORTS_KEY = "imports"
"""In `MachinePaths.extra`: the folders that the running ComfyUI imports packages from, as a path list."""


@dataclass(frozen=True)
class Places:
    """Where things lie on this machine."""

    workspace: Workspace
    checkpoint_dirs: Sequence[Path]
    lora_dirs: Sequence[Path]
    tokenizer_dir: Path
    least_free_bytes: int = LEAST_FREE_BYTES
    model_dirs: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """Further model folders by ComfyUI's name for them ("diffusion_models", "text_encoders", "vae")."""
    import_dirs: Sequence[Path] = ()
    """Where the running ComfyUI finds its packages; a launcher may have named folders that no other Python looks into."""

    @property
    def folders(self) -> dict[str, Any]:
        """The model folders as plain JSON; `with_folders` takes them back."""
        return {
            "checkpoints": [str(each) for each in self.checkpoint_dirs],
            "loras": [str(each) for each in self.lora_dirs],
            "tokenizer": str(self.tokenizer_dir),
            "models": {kind: [str(each) for each in dirs] for kind, dirs in self.model_dirs.items()},
            "imports": [str(each) for each in self.import_dirs],
        }

    def with_folders(self, folders: Mapping[str, Any]) -> Places:
        """The same with the model folders that somebody else knew; `folders` is empty or what the property gave there."""
        if not folders:
            return self
        return replace(
            self,
            checkpoint_dirs=[Path(each) for each in folders["checkpoints"]],
            lora_dirs=[Path(each) for each in folders["loras"]],
            tokenizer_dir=Path(folders["tokenizer"]),
            model_dirs={kind: [Path(each) for each in dirs] for kind, dirs in folders["models"].items()},
            import_dirs=[Path(each) for each in folders.get("imports", ())],
        )

    def folder_hints(self) -> dict[str, str]:
        """`model_dirs` and `import_dirs` as `MachinePaths.extra` carries them: path lists, separated as in PATH."""
        named = {f"{FOLDER_KEY}{kind}": folders for kind, folders in self.model_dirs.items()}
        if self.import_dirs:
            named[IMPORTS_KEY] = self.import_dirs
        return {name: os.pathsep.join(str(each) for each in folders) for name, folders in named.items()}

    def base_model_dirs(self, folder: str) -> list[Path]:
        """Where base models lie whose ComfyUI folder is `folder`: as the host says, beside the checkpoints, among them."""
        return list(
            dict.fromkeys([*self.model_dirs.get(folder, ()), *base_model_dirs(self.checkpoint_dirs, folder)])
        )
