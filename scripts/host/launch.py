"""Start ComfyUI's main.py in this process, with torchvision from a folder of its own.

usage: launch.py COMFYUI_DIR TORCHVISION_DIR [main.py's arguments]

The folder goes on this process's path and not into the environment: of the trainers that ComfyUI starts only those of ComfyUI's own
models take over its path, and the others never see it (diffusers can't do with a CUDA torchvision beside a CPU torch). Ctrl-C works,
also where a shell has started everything in the background (`&`) and so with SIGINT ignored, which children inherit.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

CPU_TORCHVISION = Path(__file__).resolve().with_name("cpu_torchvision")


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    comfy_dir, torchvision_dir = sys.argv[1:3]
    provide_torchvision(torchvision_dir)
    os.chdir(comfy_dir)
    sys.path[0] = comfy_dir
    sys.argv = [os.path.join(comfy_dir, "main.py"), *sys.argv[3:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


def provide_torchvision(folder: str) -> None:
    """Make the torchvision of `folder` importable here, also beside a torch for CPUs; nothing happens for an empty name."""
    if folder:
        sys.path += [str(CPU_TORCHVISION), folder]


if __name__ == "__main__":
    main()
