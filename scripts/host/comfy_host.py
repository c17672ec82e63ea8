"""ComfyHost: a real ComfyUI as a child process, headless, on a loopback port, with this pack in it.

In: a base folder (models, outputs, workspace). Out: a running server and a client for it. Used by the demo, by
`make serve` and by the tests.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from kohya_bridge import processes
from kohya_bridge.errors import Unavailable

from .comfy_client import ComfyClient
from .comfy_install import ROOT, ComfyInstall, find_comfyui
from .comfy_needs import refuse_what_lacks

PACK_NAME = "wizdroid-lora-training"
MARK = "WIZDROID_STARTED_BY"
"""In the environment of a ComfyUI, and so of all that it starts: on whose behalf it runs."""
MODEL_FOLDERS = ("checkpoints", "loras", "vae", "embeddings", "diffusion_models", "text_encoders")
NOT_COPIED = (".git", ".venv*", ".cache", ".comfy", "third_party", "runs", "*cache*")


class ComfyHost:
    """One ComfyUI process. `start` returns when it answers; `stop` ends it as Ctrl-C does; `kill` as a crash does."""

    def __init__(
        self,
        base_dir: Path,
        *,
        port: int = 0,
        install: ComfyInstall | None = None,
        log_name: str = "comfyui.log",
        mark: str = "",
    ):
        """`mark` is put into its environment as `MARK`."""
        self.base_dir = Path(base_dir).resolve()
        self.install = install or find_comfyui()
        self.port = port or free_port()
        self.log_file = self.base_dir / log_name
        self.mark = mark
        self.extra_arguments: tuple[str, ...] = ()
        """Further arguments of main.py, such as `--front-end-root`."""
        self.environment: dict[str, str] = {}
        """Further variables of its environment."""
        self.process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> ComfyClient:
        return ComfyClient(self.url)

    @property
    def workspace_dir(self) -> Path:
        return self.base_dir / "training"

    @property
    def checkpoints_dir(self) -> Path:
        return self.base_dir / "models" / "checkpoints"

    @property
    def loras_dir(self) -> Path:
        return self.base_dir / "models" / "loras"

    def prepare(self) -> None:
        """Make the base folder: model folders, this pack under `custom_nodes`, and the first-visit dialog switched off.

        Raises:
            Unavailable: this ComfyUI's Python lacks something.
        """
        refuse_what_lacks(self.install)
        for name in MODEL_FOLDERS:
            (self.base_dir / "models" / name).mkdir(parents=True, exist_ok=True)
        place_pack(self.base_dir / "custom_nodes" / PACK_NAME)
        settings = self.base_dir / "user" / "default" / "comfy.settings.json"
        if not settings.exists():
            settings.parent.mkdir(parents=True, exist_ok=True)
            settings.write_text('{"Comfy.TutorialCompleted": true}\n', encoding="utf-8")

    def arguments(self) -> list[str]:
        """main.py's arguments. The API nodes are left out: they are the only part that calls the network."""
        return [
            *("--listen", "127.0.0.1", "--port", str(self.port)),
            *("--base-directory", str(self.base_dir)),
            *("--database-url", f"sqlite:///{self.base_dir / 'user' / 'comfyui.db'}"),
            *("--disable-auto-launch", "--disable-api-nodes"),
            *([] if has_gpu() else ["--cpu"]),
            *self.extra_arguments,
        ]

    def start(self, *, timeout_s: float = 180) -> ComfyHost:
        """Start the server and wait until it answers.

        Raises:
            Unavailable: it ended or did not answer in time; the message ends with its last log lines.
        """
        self.prepare()
        torchvision = str(self.install.torchvision_dir or "")
        launch = Path(__file__).with_name("launch.py")
        command = [self.install.python, str(launch), str(self.install.dir), torchvision, *self.arguments()]
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
            MARK: self.mark,
            **self.environment,
        }
        with open(self.log_file, "ab") as log:
            self._log_begins = log.tell()
            # A session of its own: Ctrl-C in the terminal reaches the script, which then stops the server in order.
            self.process = processes.start_detached(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        try:
            self._wait_until_it_answers(timeout_s)
        except BaseException:
            self.kill()
            raise
        return self

    def _wait_until_it_answers(self, timeout_s: float) -> None:
        assert self.process is not None
        deadline = time.monotonic() + timeout_s
        while not self.client.answers():
            if self.process.poll() is not None:
                raise self._start_failure()
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"ComfyUI has not answered for {timeout_s:.0f} s; the end of {self.log_file}:\n{self.log_tail()}"
                )
            time.sleep(0.2)

    def _start_failure(self) -> Unavailable:
        said = self.new_log()
        lacking = re.findall(r"^ModuleNotFoundError: No module named '([\w.]+)'", said, re.MULTILINE)
        if lacking:
            return Unavailable(
                f"ComfyUI did not start: its Python ({self.install.python}) lacks the module {lacking[-1]}.",
                f"Install what it is part of; the log is {self.log_file}.",
            )
        return Unavailable(f"ComfyUI did not start; the end of {self.log_file}:\n{self.log_tail()}")

    def stop(self, *, timeout_s: float = 15) -> None:
        """End the server as Ctrl-C does, harder if it does not listen. Trainers that it started go on."""
        self.interrupt()
        with suppress(subprocess.TimeoutExpired):
            if self.process is not None:
                self.process.wait(timeout_s)
        self.kill()

    def interrupt(self) -> None:
        """Ask the server to end, as Ctrl-C does, and don't wait for it."""
        if self.process is not None and self.process.poll() is None:
            processes.signal_group(self.process.pid, "interrupt")

    def kill(self) -> None:
        """End the server at once, with what it started beside trainers."""
        if self.process is not None and self.process.poll() is None:
            processes.signal_group(self.process.pid, "kill")
            self.process.wait()

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def new_log(self) -> str:
        """What was said since the last start."""
        return self.log_file.read_bytes()[self._log_begins :].decode("utf-8", "replace")

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def __enter__(self) -> ComfyHost:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def has_gpu() -> bool:
    """Whether an NVIDIA driver answers; other accelerators are for people who start their own ComfyUI."""
    return (
        shutil.which("nvidia-smi") is not None
        and subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0
    )


def place_pack(target: Path) -> None:
    """Link this checkout to `target`; where links need privileges, copy it."""
    if target.is_symlink() and target.resolve() == ROOT:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        target.unlink()
    elif target.exists():
        shutil.rmtree(target)
    try:
        target.symlink_to(ROOT, target_is_directory=True)
    except OSError:
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*NOT_COPIED))
