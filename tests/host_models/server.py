"""A process with ComfyUI opened once, as a trainer's child opens it, which forks for every case and every run.

usage: server.py COMFYUI_DIR TORCHVISION_DIR     (orders as JSON lines on stdin, answers on stdout)

Importing ComfyUI's models takes 11 to 15 seconds; a fork takes none. A model file whose metadata names a reduced family is built by
the host's own classes with the configuration in `reduced.py`, which the host's detection could not infer at that size; its text
encoder and its VAE are the host's own classes too, with few and narrow layers.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path


def main() -> None:
    comfy_dir, torchvision_dir = Path(sys.argv[1]), sys.argv[2]
    from tests.host_models import (  # before the host's own `tests` is on the path
        cases,
        lora_cases,
        reduced,
        small_files,
    )

    began = time.monotonic()
    host = opened(comfy_dir, torchvision_dir)
    small_files.teach(reduced)
    answer = {"version": host.version, "seconds": round(time.monotonic() - began, 1)}
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed below is no answer
    answers.write(json.dumps(answer) + "\n")
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answers.write(json.dumps({"exit": os.waitstatus_to_exitcode(status)}) + "\n")
            continue
        pid = os.fork()
        if not pid:
            os._exit(obey(order, (cases, lora_cases)))
        answers.write(json.dumps({"pid": pid}) + "\n")
    os._exit(0)  # nothing to tidy up, and the host's modules take long to let go


def opened(comfy_dir: Path, torchvision_dir: str):
    """The host, as `open_host` opens it for a training on the CPU."""
    import torch

    from kohya_bridge.engines.native.host_side.opening import open_host
    from scripts.host.launch import provide_torchvision

    provide_torchvision(torchvision_dir)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return open_host(comfy_dir, torch.device("cpu"))


def obey(order: dict, cases: tuple) -> int:
    """In a fork: train a run, or answer a case into a file."""
    os.setsid()
    try:
        if "run" in order:
            log = os.open(Path(order["run"]) / "train.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            from kohya_bridge.engines.native.__main__ import main as train

            return train([order["run"]])
        (case,) = (getattr(each, order["case"]) for each in cases if hasattr(each, order["case"]))
        found = case(**order["arguments"])
        Path(order["into"]).write_text(json.dumps(found))
        return 0
    except BaseException:
        Path(order.get("into", os.devnull)).write_text(json.dumps({"failed": traceback.format_exc()}))
        return 1


if __name__ == "__main__":
    main()
