"""What importing this pack costs a ComfyUI: processor time or function calls, and which packages came in with it.

usage: import_cost.py COMFYUI_DIR TORCHVISION_DIR PACK_DIR seconds|calls

It loads ComfyUI's own modules first, then the pack the way ComfyUI loads it, schemas included, and prints one line of
JSON: `seconds` or `calls`, and `packages`, the names of all packages outside the standard library that are new. Seconds
differ from machine to machine and with what else it does; the number of calls of Python functions is the same on each.
Without API nodes ComfyUI has no pydantic loaded, so that is counted too.
"""

import asyncio
import gc
import importlib
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

PACK = "pack"


def main() -> None:
    comfy_dir, torchvision_dir, pack_dir, measure = sys.argv[1:5]
    sys.path.insert(0, pack_dir)
    from scripts.host.launch import provide_torchvision

    sys.path[:2] = [comfy_dir]
    provide_torchvision(torchvision_dir)
    loop = _load_comfy()
    # A collector pass over ComfyUI's own million objects takes longer than our import, and is due now or a little later.
    gc.collect()
    gc.freeze()
    before = set(sys.modules)
    cost = MEASURES[measure](lambda: loop.run_until_complete(_load_pack(pack_dir)))
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    print(json.dumps({measure: cost, "packages": sorted(new - sys.stdlib_module_names - {PACK})}))


def _seconds(load: Callable[[], None]) -> float:
    began = time.process_time()
    load()
    return round(time.process_time() - began, 4)


def _calls(load: Callable[[], None]) -> int:
    counted = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal counted
        counted += event == "call"

    sys.setprofile(count)
    load()
    sys.setprofile(None)
    return counted


MEASURES = {"seconds": _seconds, "calls": _calls}


def _load_comfy() -> asyncio.AbstractEventLoop:
    sys.argv = ["main.py", "--cpu", "--base-directory", tempfile.mkdtemp()]
    options = importlib.import_module("comfy.options")
    options.enable_args_parsing()
    for name in (
        "utils.extra_config",
        "execution",
        "nodes",
    ):  # main.py's order: later on `utils` is another module
        importlib.import_module(name)
    server = importlib.import_module("server")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    server.PromptServer(loop)
    return loop


async def _load_pack(pack_dir: str) -> None:
    spec = importlib.util.spec_from_file_location(
        PACK, f"{pack_dir}/__init__.py", submodule_search_locations=[pack_dir]
    )
    assert spec and spec.loader
    pack = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = pack
    spec.loader.exec_module(pack)
    extension = await pack.comfy_entrypoint()
    for node in await extension.get_node_list():
        node.GET_SCHEMA()


if __name__ == "__main__":
    main()
