"""The command line in this process, with the quick trainer behind it."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest
import yaml

from kohya_bridge.__main__ import main
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import BASE, make_dataset, write_base_model
from tests.doubles.quick_engine import QuickEngine
from tests.known_pictures import known_pictures  # noqa: F401  a fixture
from tests.quick_forks import forked_starts  # noqa: F401  a fixture


@dataclass(frozen=True)
class Answer:
    """What a command line answered."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Runs command lines on one workspace."""

    def __init__(self, root):
        self.root = root
        self.workspace = Workspace.at(root / "training")
        self.engine = QuickEngine()

    def __call__(self, *words: str) -> Answer:
        places = [
            "--workspace",
            str(self.workspace.root),
            "--checkpoints",
            str(self.root / "models" / "checkpoints"),
        ]
        places += ["--loras", str(self.root / "models" / "loras")]
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main([*words, *places], engines={"native": self.engine})
            except SystemExit as end:  # argparse's own
                code = end.code
        return Answer(code, out.getvalue(), err.getvalue())

    def config(self, name: str = "alice", **changes) -> str:
        values = {
            "dataset": "alice",
            "base_model": BASE,
            "settings": {"max_train_steps": 12, "save_every_n_steps": 4},
            **changes,
        }
        file = self.workspace.configs_dir / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(values))
        return name


@pytest.fixture
def shell(tmp_path, known_pictures):  # noqa: F811
    shell = Shell(tmp_path)
    make_dataset(shell.workspace, "alice")
    write_base_model(tmp_path / "models" / "checkpoints" / BASE)
    return shell
