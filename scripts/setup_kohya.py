"""Set up the kohya engine: `python -m scripts.setup_kohya`. sd-scripts at the pinned commit, an interpreter of its own with its
own pins, and a smoke test. Safe to run again; nothing of sd-scripts is changed. uv is used where it is installed.

    EXTRAS            optional packages, such as EXTRAS="bitsandbytes xformers tensorboard wandb lycoris-lora"
    PYTHON            interpreter that makes the environment (default: the one that runs this; 3.10 to 3.12 suit sd-scripts best)
    KOHYA_VENV        where the environment lies (default .venv-kohya)
    KOHYA_SD_SCRIPTS  a checkout to use instead of the submodule (a kohya_ss folder with sd-scripts inside will do)
    WIZDROID_TORCH    a requirement such as torch==2.13.0; else constraints-cpu.txt without a GPU, the newest with one
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .environments import (
    CPU_CONSTRAINTS,
    ROOT,
    has_nvidia_gpu,
    installed,
    interpreter_in,
    make_environment,
    output_of,
    shown,
)
from .environments import pip as plain_pip

UPSTREAM = "https://github.com/kohya-ss/sd-scripts"
SUBMODULE = ROOT / "third_party" / "kohya_ss"
MARK = "train_network.py"
LEFT_OUT = re.compile(r"\s*(#|$|-e|torch|torchvision|bitsandbytes|tensorboard|xformers|wandb)")
Pip = Callable[..., None]


def main() -> int:
    pinned = (ROOT / "training" / "kohya" / "VERSION").read_text("ascii").strip()
    checkout = find_or_get_checkout(pinned)
    have = output_of(["git", "-C", str(checkout), "rev-parse", "HEAD"]) or "unknown"
    if have != pinned:
        _say(f"the checkout is at {have}; this pack is tested with {pinned}")
    venv = ROOT / os.environ.get("KOHYA_VENV", ".venv-kohya")
    python, pip = _environment(venv)
    _install(python, pip, venv, checkout)
    _try_out(python, checkout)
    _say(f"ready: {output_of([str(python), '-V'])}, sd-scripts {have} in {checkout}")
    _say("python -m kohya_bridge doctor shows the details")
    return 0


def find_or_get_checkout(pinned: str) -> Path:
    """The folder with sd-scripts' training scripts; the submodule is fetched where it is empty. Exits with what is missing."""
    given = os.environ.get("KOHYA_SD_SCRIPTS")
    folder = Path(given) if given else SUBMODULE
    for each in (folder, folder / "sd-scripts"):
        if (each / MARK).is_file():
            return each
    if given:
        sys.exit(f"kohya: KOHYA_SD_SCRIPTS={given} holds no {MARK}.")
    _say(f"getting sd-scripts {pinned}")
    if output_of(["git", "-C", str(ROOT), "ls-files", "third_party/kohya_ss"]):
        _git("submodule", "update", "--init", "--depth", "1", "third_party/kohya_ss")
    else:  # installed without git: the registry ships an archive
        _git("clone", "--quiet", "--filter=blob:none", UPSTREAM, str(SUBMODULE))
        _git("-C", str(SUBMODULE), "checkout", "--quiet", pinned)
    return SUBMODULE


def _git(*arguments: str) -> None:
    if shutil.which("git") is None:
        sys.exit("kohya: git is not installed; install it, then run this again.")
    if subprocess.run(["git", *arguments], cwd=ROOT, check=False).returncode:
        sys.exit("kohya: git failed; see above.")


def _environment(venv: Path) -> tuple[Path, Pip]:
    uv = shutil.which("uv")
    if uv is None:
        python = make_environment(venv)
        return python, lambda *arguments: plain_pip(python, *arguments)
    python = interpreter_in(venv)
    if not python.exists():
        maker = os.environ.get("PYTHON") or sys.executable
        if subprocess.run([uv, "venv", "--quiet", "--python", maker, str(venv)], check=False).returncode:
            sys.exit(f"kohya: uv could not make {venv}; see above.")

    def with_uv(verb: str, *arguments: str) -> None:
        command = [uv, "pip", verb, "--quiet", "--python", str(python), *arguments]
        status = subprocess.run(command, check=False).returncode
        if status:
            sys.exit(status)

    return python, with_uv


def _install(python: Path, pip: Pip, venv: Path, checkout: Path) -> None:
    gpu = has_nvidia_gpu()
    constraints = os.environ.get("WIZDROID_TORCH") or ("" if gpu else CPU_CONSTRAINTS.read_text("utf-8"))
    file = venv / "constraints.txt"
    file.write_text(constraints + "\n", encoding="utf-8")
    _say(f"torch ({'for the GPU' if gpu and not constraints else shown(constraints)})")
    if gpu:
        pip("install", "-c", str(file), "torch", "torchvision")
    else:
        # There is no CPU build of torchvision in every registry. sd-scripts takes only its pure-Python transforms, which the
        # runner can import from any build of the matching version.
        pip("install", "-c", str(file), "torch")
        minor = int(installed(python, "torch").split(".")[1])
        pip("install", "--no-deps", f"torchvision==0.{minor + 15}.*")
    _say("sd-scripts' pinned requirements")
    wanted = venv / "sd-scripts-requirements.txt"
    wanted.write_text(requirements_of(checkout), encoding="utf-8")
    pip("install", "-c", str(file), "-r", str(wanted), "psutil")
    for extra in os.environ.get("EXTRAS", "").split():
        _say(f"optional: {extra}")
        pip("install", "-c", str(file), extra)


def requirements_of(checkout: Path) -> str:
    """sd-scripts' own pins without the checkout itself (its scripts run from where they lie), without what is optional, and with
    the build of OpenCV that needs no display libraries."""
    lines = (checkout / "requirements.txt").read_text("utf-8").splitlines()
    kept = [
        re.sub(r"^opencv-python==", "opencv-python-headless==", line)
        for line in lines
        if not LEFT_OUT.match(line)
    ]
    return "\n".join(kept) + "\n"


_SMOKE_TEST = """
import runpy, sys
from pathlib import Path
from kohya_bridge.engines.kohya.upstream import make_torchvision_importable
make_torchvision_importable()
checkout = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(checkout))
sys.argv = ["train_network.py", "--help"]
try:
    runpy.run_path(str(checkout / "train_network.py"), run_name="__main__")
except SystemExit as end:
    sys.exit(end.code)
"""


def _try_out(python: Path, checkout: Path) -> None:
    """The script's own help, and every hook. Exits with what does not fit."""
    _say("smoke test")
    command = [str(python), "-X", "utf8", "-c", _SMOKE_TEST, str(checkout)]
    if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode:
        sys.exit(f"kohya: {MARK} --help failed; see above.")
    probe = [str(python), "-m", "kohya_bridge.engines.kohya.probe", str(checkout)]
    told = subprocess.run(probe, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    lines = told.stdout.strip().splitlines()
    hooks = json.loads(lines[-1])["hooks"] if lines else {"missing": [told.stderr.strip()[-500:]]}
    if hooks != {"missing": []}:
        sys.exit(f"kohya: the hooks do not fit this sd-scripts: {json.dumps(hooks)}")


def _say(text: str) -> None:
    print(f"kohya: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
