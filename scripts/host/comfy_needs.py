"""What a person's own ComfyUI lacks before it can run with this pack in it.

In: a ComfyUI folder with its interpreter. Out: the names of missing packages, asked of that interpreter without importing any of them:
ComfyUI's own requirements, and the pack's, since trainers run in the same Python.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from kohya_bridge.errors import Unavailable

from .comfy_install import ROOT, ComfyInstall

NON_ESSENTIAL = "non essential"
"""ComfyUI's requirements.txt puts a comment with these words above what it can do without."""
# What ComfyUI starts without all the same, with a line in its log (0.3.75 and 0.33.0).
GUARDED = {"torchaudio", "alembic", "sqlalchemy", "comfyui-workflow-templates", "comfyui-embedded-docs"}
MODULES = {
    "pyyaml": "yaml", "pillow": "PIL", "pyopengl": "OpenGL", "opencv-python": "cv2", "scikit-image": "skimage",
}  # fmt: skip
"""Packages whose module has another name."""
_ASK = (
    "import importlib.util as u, json, sys\n"
    "print(json.dumps([name for name in json.loads(sys.argv[1]) if u.find_spec(name) is None]))"
)


def refuse_what_lacks(install: ComfyInstall) -> None:
    """Raises Unavailable, with everything that is missing and the command for it. The bundled ComfyUI has what it needs."""
    if install.bundled:
        return
    lacking = lacks(install)
    if lacking:
        raise Unavailable(
            f"The Python of the ComfyUI in {install.dir} lacks {', '.join(lacking)}.",
            f"Install it: {install.python} -m pip install {' '.join(lacking)}",
        )


def lacks(install: ComfyInstall) -> list[str]:
    """Names of packages that must be installed for `install` to start and to train, in the order of the requirements.

    Raises:
        Unavailable: its interpreter can't be asked.
    """
    wanted = dict.fromkeys(
        [*essential(install.dir / "requirements.txt"), *essential(ROOT / "requirements.txt")]
    )
    modules = {name: MODULES.get(name, name.replace("-", "_")) for name in wanted}
    try:
        asked = subprocess.run(
            [install.python, "-c", _ASK, json.dumps(list(modules.values()))],
            cwd=install.dir, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        missing = set(json.loads(asked.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise Unavailable(
            f"The Python of the ComfyUI in {install.dir} does not answer: {error}",
            "Name the one that ComfyUI runs with in COMFYUI_PYTHON.",
        ) from None
    return [name for name in wanted if modules[name] in missing]


def essential(file: Path) -> list[str]:
    """The packages of a requirements file that are needed here, in lower case; none when there is no such file."""
    if not file.is_file():
        return []
    names = []
    for line in file.read_text("utf-8").splitlines():
        if NON_ESSENTIAL in line:
            break
        try:
            found = Requirement(line.partition(" #")[0].strip())
        except InvalidRequirement:  # a comment, an option of pip, a link
            continue
        name = re.sub(r"[-_.]+", "-", found.name).lower()
        if name not in GUARDED and (found.marker is None or found.marker.evaluate()):
            names.append(name)
    return names
