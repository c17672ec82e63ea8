"""One trial: a person with a scratch folder, a workspace and a shell; what they bring, and what became of it."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from kohya_bridge.__main__ import main as shell
from kohya_bridge.cli import exit_codes
from kohya_bridge.dataset import read_dataset
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import BASE, write_base_model

Trial = Callable[["World"], bool]
TRIALS: list[tuple[str, str, Trial]] = []
RIGHT, WRONG, CRASHED = "right", "wrong", "crashed"


def trial(kind: str, what: str) -> Callable[[Trial], Trial]:
    def added(act: Trial) -> Trial:
        TRIALS.append((kind, what, act))
        return act

    return added


@dataclass
class World:
    """A scratch folder with a workspace and a base model; `said` is what the last command printed."""

    root: Path
    said: str = ""
    code: int = 0

    @property
    def workspace(self) -> Workspace:
        return Workspace.at(self.root / "training")

    def do(self, *words: object) -> World:
        """One command line. Both streams are kept together, as a terminal shows them."""
        screen = io.StringIO()
        models = self.root / "models"
        where = (
            "--workspace",
            self.root / "training",
            "--checkpoints",
            models / "checkpoints",
            "--loras",
            models / "loras",
        )
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
            try:
                self.code = shell([*map(str, words), *map(str, where)])
            except SystemExit as error:
                self.code = int(error.code or 0)
        self.said = screen.getvalue()
        return self

    def tells(self, *words: str) -> bool:
        """Whether all of that was said, whatever the case of its letters."""
        return all(each.lower() in self.said.lower() for each in words)

    def write(self, name: str, content: str | bytes) -> Path:
        file = self.root / "theirs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def picture(self, name: str, caption: str | None = None, *, ending: str = ".txt", seed: int = 0) -> Path:
        """A picture with shapes of its own, and its caption beside it."""
        file = self.root / "theirs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        dice = np.random.default_rng(abs(hash(name)) % 2**32 + seed)
        small = Image.fromarray(dice.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        small.resize((640, 640), Image.Resampling.BICUBIC).save(file)
        if caption is not None:
            file.with_suffix(ending).write_text(caption, "utf-8")
        return file

    def pictures(self, folder: str, count: int, caption: str | None = "char_zed, {}") -> None:
        for number in range(count):
            self.picture(str(Path(folder, f"{number:02}.png")), caption and caption.format(f"scene {number}"))

    def bring(self, dataset: str = "zed", folder: str = "") -> World:
        return self.do("import", dataset, self.root / "theirs" / folder)

    def captions(self, dataset: str = "zed") -> list[str]:
        return [item.caption for item in read_dataset(self.workspace.dataset_dir(dataset)).items]

    def adopt(self, name: str, content: str | bytes | dict[str, Any]) -> World:
        """Make a config of a foreign file for a dataset that is there."""
        self.pictures("made", 3)
        self.do("import", "zed", self.root / "theirs" / "made")
        file = self.write(name, json.dumps(content) if isinstance(content, dict) else content)
        return self.do("adopt", file, "--dataset", "zed", "--base-model", BASE, "--name", "theirs")

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(
            (self.workspace.configs_dir / "theirs.yaml").read_text("utf-8")
        )
        return found

    def plans_natively(self) -> bool:
        self.do("plan", "theirs")
        return self.code == exit_codes.DONE and self.tells("native")


def plain_lora(module: str = "lora_unet_mid_block_0", rank: int = 4) -> dict[str, np.ndarray]:
    """The tensors of a LoRA on one layer, sound and without meaning."""
    return {
        f"{module}.lora_down.weight": np.ones((rank, 8), np.float32),
        f"{module}.lora_up.weight": np.ones((8, rank), np.float32),
        f"{module}.alpha": np.array(1.0, np.float32),
    }


def outcome_of(act: Trial) -> tuple[str, str]:
    """What became of one trial in a scratch folder of its own, and what was said."""
    with tempfile.TemporaryDirectory(prefix="trial-") as scratch:
        world = World(Path(scratch))
        write_base_model(world.root / "models" / "checkpoints" / BASE)
        try:
            right = act(world)
        except Exception as error:  # whatever it is, it is what a trial looks for
            return CRASHED, f"{type(error).__name__}: {error}\n{world.said}"
        crashed = world.code == exit_codes.UNEXPECTED or "Traceback" in world.said
        return CRASHED if crashed else RIGHT if right else WRONG, world.said
