"""A ComfyUI for tests of what is started around one: its routes and its websocket, and a real run that a Kohya Train would start.

    main.py --port N --base-directory DIR ...

`COMFYUI_DOUBLE` says how far it comes: `starting` never answers, `training` trains for minutes, `rendering` renders for ever after a short
training. Trainer and keeper are real processes; the trainer is `quick_trainer.py`. SIGINT ends it, as it ends a real one.
"""

import argparse
import asyncio
import os
from pathlib import Path

from aiohttp import web

from kohya_bridge.desk import Desk
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import BASE, make_dataset, request, write_base_model
from tests.doubles.quick_engine import QuickEngine

HOW_FAR = os.environ["COMFYUI_DOUBLE"]
NODES = {"training": "5", "rendering": "6"}  # Kohya Train and LoRA Validate Grid in the example workflow


def train(base_dir: Path) -> None:
    workspace = Workspace.at(base_dir / "training")
    make_dataset(workspace, "alice")
    write_base_model(base_dir / "models" / "checkpoints" / BASE)
    engine = QuickEngine(seconds_per_step=0.05)
    desk = Desk(
        workspace,
        checkpoint_dirs=[base_dir / "models" / "checkpoints"],
        tokenizer_dir=base_dir / "models" / "tokenizer",
        engines={"native": engine},
    )
    steps = 5000 if HOW_FAR == "training" else 2
    run = desk.submit(request(settings={"max_train_steps": steps}))
    if HOW_FAR == "rendering":
        desk.wait(run.run_id)


async def serve(port: int, base_dir: Path) -> None:
    sockets = []

    async def nothing(_):
        return web.json_response({})

    async def settings(_):
        return web.json_response({"WizdroidTrainingSettings": {"input": {"required": {}}}})

    async def listen(asked):
        socket = web.WebSocketResponse()
        await socket.prepare(asked)
        sockets.append(socket)
        async for _ in socket:
            pass
        return socket

    async def queue(_):
        await asyncio.to_thread(train, base_dir)
        state = {"state": "running", "value": 1, "max": 2}
        progress = {"type": "progress_state", "data": {"prompt_id": "1", "nodes": {NODES[HOW_FAR]: state}}}
        asyncio.get_running_loop().call_later(0.2, lambda: [asyncio.ensure_future(each.send_json(progress)) for each in sockets])  # fmt: skip
        return web.json_response({"prompt_id": "1"})

    app = web.Application()
    app.add_routes([
        web.get("/system_stats", nothing), web.get("/object_info/WizdroidTrainingSettings", settings),
        web.get("/ws", listen), web.post("/prompt", queue),
    ])  # fmt: skip
    runner = web.AppRunner(app)
    await runner.setup()
    if HOW_FAR != "starting":
        await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--base-directory", type=Path)
    chosen, _ = parser.parse_known_args()
    try:
        asyncio.run(serve(chosen.port, chosen.base_directory))
    except KeyboardInterrupt:
        print("Stopped server", flush=True)
