"""Start ComfyUI's main.py in this process, with torchvision from a folder of its own.

usage: launch.py COMFYUI_DIR TORCHVISION_DIR [main.py's arguments]

The registry's torchvision is a CUDA build. Beside a CPU torch its compiled part can't load, and its Python part only
needs two operators to be declared. The folder goes on this process's path and not into the environment, so that the
trainers that ComfyUI starts never see it. Ctrl-C works, also where a shell has started everything in the background (`&`) and so
with SIGINT ignored, which children inherit.
"""

import os
import runpy
import signal
import sys

declared = []  # the operators live as long as these objects


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    comfy_dir, torchvision_dir = sys.argv[1:3]
    provide_torchvision(torchvision_dir)
    os.chdir(comfy_dir)
    sys.path[0] = comfy_dir
    sys.argv = [os.path.join(comfy_dir, "main.py"), *sys.argv[3:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


def provide_torchvision(folder: str) -> None:
    """Make the torchvision of `folder` importable here; nothing happens for an empty name."""
    if not folder:
        return
    sys.path.append(folder)
    import torch

    if torch.version.cuda is None:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        declared.append(library)


if __name__ == "__main__":
    main()
