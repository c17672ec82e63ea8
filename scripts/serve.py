"""Run the demo's ComfyUI for a person to open in a browser: `python -m scripts.serve [--port N] [--base DIR]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kohya_bridge.errors import BridgeError

from .host.comfy_host import ComfyHost
from .host.comfy_install import ROOT
from .host.leaving import Interrupted, interruptible, wait_for

BASE_DIR = ROOT / ".comfy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8188, help="port on 127.0.0.1 (default 8188)")
    parser.add_argument("--base", type=Path, default=BASE_DIR, help="ComfyUI's base folder (default .comfy)")
    chosen = parser.parse_args()
    try:
        with interruptible(), ComfyHost(chosen.base, port=chosen.port) as host:
            print(
                f"ComfyUI is ready: {host.url}  (Ctrl-C ends it; runs go on)\nLog: {host.log_file}",
                flush=True,
            )
            wait_for(host.process)
    except Interrupted:
        print("\nComfyUI has ended; runs go on.")
    except BridgeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
