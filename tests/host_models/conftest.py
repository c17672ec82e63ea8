"""One process with an opened ComfyUI for all of these tests, and a small training world for its families."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kohya_bridge.workspace import PACK_ROOT
from scripts.host.comfy_install import find_comfyui


class Hosted:
    """The process of `server.py`: asks it for cases, has it train runs."""

    def __init__(self, folder: Path):
        self.install, self.folder, self._count = find_comfyui(), folder, 0
        python_path = os.pathsep.join([str(PACK_ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": python_path}
        torchvision = str(self.install.torchvision_dir or "")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.host_models.server", str(self.install.dir), torchvision],
            cwd=PACK_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(folder / "server.log", "wb"),
            text=True,
        )
        self.opened = self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        assert line, (self.folder / "server.log").read_text(errors="replace")[-3000:]
        return json.loads(line)

    def _order(self, **order) -> dict:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def case(self, name: str, **arguments) -> dict:
        """What `cases.py` or `lora_cases.py` finds."""
        self._count += 1
        into = self.folder / f"case{self._count}.json"
        pid = self._order(case=name, arguments=arguments, into=str(into))["pid"]
        self.wait(pid)
        found = json.loads(into.read_text())
        assert "failed" not in found, found["failed"]
        return found

    def start(self, run) -> int:
        """The pid of a training of this run."""
        return self._order(run=str(run.dir))["pid"]

    def wait(self, pid: int) -> int:
        return self._order(wait=pid)["exit"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="session")
def hosted(tmp_path_factory):
    server = Hosted(tmp_path_factory.mktemp("hosted"))
    yield server
    server.close()
