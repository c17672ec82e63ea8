"""ComfyHost: a real ComfyUI as a child process, headless, on a loopback port, with this pack in it.

In: a base folder (models, outputs, workspace). Out: a running server and a client for it. Used by the demo, by
`make serve` and by the tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from .comfy_client import ComfyClient
from .comfy_install import ROOT, ComfyInstall, find_comfyui

PACK_NAME = "wizdroid-lora-training"
MODEL_FOLDERS = ("checkpoints", "loras", "vae", "embeddings")
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
    ):
        self.base_dir = Path(base_dir).resolve()
        self.install = install or find_comfyui()
        self.port = port or free_port()
        self.log_file = self.base_dir / log_name
        self.extra_arguments: tuple[str, ...] = ()
        """Further arguments of main.py, such as `--front-end-root`."""
        self.process: subprocess.Popen[bytes] | None = None

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
        """Make the base folder: model folders, this pack under `custom_nodes`, and the first-visit dialog switched off."""
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
            RuntimeError: it ended or did not answer in time; the message ends with its last log lines.
        """
        self.prepare()
        torchvision = str(self.install.torchvision_dir or "")
        launch = Path(__file__).with_name("launch.py")
        command = [self.install.python, str(launch), str(self.install.dir), torchvision, *self.arguments()]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
        with open(self.log_file, "ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches the script, which then stops the server in order.
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        while not self.client.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"ComfyUI did not start; the end of {self.log_file}:\n{self.log_tail()}")
            time.sleep(0.2)
        return self

    def stop(self, *, timeout_s: float = 15) -> None:
        """End the server as Ctrl-C does, harder if it does not listen. Trainers that it started go on."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server at once (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

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
