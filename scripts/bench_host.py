"""How well ComfyUI answers beside the panel: `python -m scripts.bench_host [--runs 3000] [--clients 20] [--rounds 3] [--seconds 8]`.

In: nothing; it makes a workspace of many runs and starts the real ComfyUI on it. Out: milliseconds of `/system_stats` while clients
ask without a pause, in turns for ComfyUI's own `/queue` and for what the panel asks for (the list, a run, its new events), while a
run trains. The clients and the one that measures are processes of their own. Both halves of a round lie next to each other, so other
programs of the machine slow down both. Exit code 1 when the median round's p95 beside the panel is over `LIMIT` times that beside `/queue`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kohya_bridge.workspace import Workspace
from scripts.host.comfy_client import ComfyClient
from scripts.host.comfy_host import ComfyHost
from tests.rehearsed_runs import Rehearsal, rehearse, rehearsed_plan

LIMIT = 1.2
PAUSE_S = 0.01
"""Between two questions of the one that measures."""
SETTLE_S = 1.0
PANEL = "/wizdroid/training"


@dataclass(frozen=True)
class Measured:
    """What `/system_stats` took in one half of a round (milliseconds, sorted), and how much the clients got meanwhile."""

    took_ms: list[float]
    answers: int
    refused: int
    clients_ms: float

    def at(self, share: float) -> float:
        return self.took_ms[min(len(self.took_ms) - 1, int(share * len(self.took_ms)))]

    def __str__(self) -> str:
        p50, p95, p99 = (self.at(share) for share in (0.50, 0.95, 0.99))
        return (
            f"p50 {p50:6.1f}  p95 {p95:6.1f}  p99 {p99:6.1f} ms of {len(self.took_ms):4d};"
            f" clients: {self.answers} answers, median {self.clients_ms:.0f} ms, {self.refused} sent away"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        host = ComfyHost(Path(folder))
        training, run_ids = fill(Workspace.at(host.workspace_dir), arguments.runs)
        with host, writing_events(training):
            halves = {
                "beside /queue": ["/queue"],
                "beside the panel": panel_paths(training.run.run_id, run_ids),
            }
            print(f"the first list: {first_list(host.client):.1f} s", flush=True)
            ratios = []
            for number in range(1, arguments.rounds + 1):
                found = {
                    name: measure(host.port, paths, arguments.clients, arguments.seconds)
                    for name, paths in halves.items()
                }
                usual, ours = (each.at(0.95) for each in found.values())
                ratios.append(ours / usual)
                for name, each in found.items():
                    print(f"round {number}, {name:17}: {each}", flush=True)
            ratio = statistics.median(ratios)
            print(
                f"p95 beside the panel / beside /queue: {', '.join(f'{each:.2f}' for each in ratios)};"
                f" median {ratio:.2f}, limit {LIMIT}"
            )
    return int(ratio > LIMIT)


def fill(workspace: Workspace, runs: int) -> tuple[Rehearsal, list[str]]:
    """A run that trains and `runs` finished ones, of 40 characters. Returns the first, and the ids of the others."""
    template = rehearse(workspace, rehearsed_plan(dataset="template", max_train_steps=200), every=50)
    template.start().train(1, 200).finish("completed")
    events = template.run.events_file.read_bytes()
    ids = []
    for number in range(runs):
        plan_of = rehearsed_plan(dataset=f"char_{number % 40}", max_train_steps=200, seed=number)
        run_dir = workspace.run_dir(plan_of.character, plan_of.run_id)
        run_dir.mkdir(parents=True)
        (run_dir / "plan.yaml").write_text(plan_of.to_yaml(), "utf-8")
        (run_dir / "events.jsonl").write_bytes(events)
        ids.append(plan_of.run_id)
    training = rehearse(workspace, rehearsed_plan(max_train_steps=100_000), every=10**9)
    return training.start().train(1, 400), ids


@contextlib.contextmanager
def writing_events(story: Rehearsal) -> Iterator[None]:
    """A trainer's events, ten steps a second, until the block ends."""
    ending = threading.Event()

    def write() -> None:
        step = 401
        while not ending.wait(0.1):
            story.train(step, step)
            step += 1

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def first_list(client: ComfyClient) -> float:
    """Seconds until the list has come for the first time, for which every run is read."""
    begun = time.perf_counter()
    while True:
        with contextlib.suppress(OSError):  # sent away, or it took longer than the client waits
            client.get_bytes(f"{PANEL}/runs")
            return time.perf_counter() - begun
        time.sleep(0.5)


def panel_paths(training: str, run_ids: list[str]) -> list[str]:
    """What open panels ask for: the list again and again, some run, and of the one that trains what is new."""
    paths = []
    for run_id in random.Random(13).sample(run_ids, min(len(run_ids), 400)):
        paths += [
            f"{PANEL}/runs",
            f"{PANEL}/runs/{run_id}",
            f"{PANEL}/runs/{training}/events?after=400",
            f"{PANEL}/runs/{training}",
        ]
    return paths


def measure(port: int, paths: list[str], clients: int, seconds: float) -> Measured:
    """Ask for `/system_stats` for that long while `clients` ask for `paths`."""
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    crowd = context.Process(target=ask_together, args=(port, paths, clients, child), daemon=True)
    crowd.start()
    parent.recv()  # they have begun
    time.sleep(SETTLE_S)
    took_ms = sorted(stats_for(port, seconds))
    parent.send("enough")
    told: dict[str, Any] = parent.recv()
    crowd.join()
    time.sleep(SETTLE_S)
    return Measured(took_ms, told["answers"], told["refused"], told["median_ms"])


def stats_for(port: int, seconds: float) -> Iterator[float]:
    """Milliseconds of one question for `/system_stats` after another, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.perf_counter()
        connection.request("GET", "/system_stats")
        json.loads(connection.getresponse().read())
        yield 1000 * (time.perf_counter() - begun)
        time.sleep(PAUSE_S)
    connection.close()


# --- the clients, in a process of their own --------------------------------------------------------------------------


def ask_together(port: int, paths: list[str], clients: int, told: Any) -> None:
    told.send(asyncio.run(_ask_together(port, paths, clients, told)))


async def _ask_together(port: int, paths: list[str], clients: int, told: Any) -> dict[str, Any]:
    import aiohttp

    took_ms: list[float] = []
    refused: list[int] = []
    known: dict[str, str] = {}

    async def client(number: int, session: aiohttp.ClientSession) -> None:
        at = number * 4
        while True:
            path = paths[at % len(paths)]
            at += 1
            begun = time.perf_counter()
            headers = {"If-None-Match": known[path]} if path in known else {}
            async with session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as answer:
                await answer.read()
                took_ms.append(1000 * (time.perf_counter() - begun))
                if tag := answer.headers.get("ETag"):
                    known[path] = tag  # as a browser does
                if answer.status == 503:
                    refused.append(1)
                    await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
                elif answer.status not in (200, 304):
                    raise RuntimeError(f"{path}: {answer.status}")

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, headers={"Accept-Encoding": "gzip, deflate"}
    ) as session:
        tasks = [asyncio.create_task(client(number, session)) for number in range(clients)]
        told.send("begun")
        while not told.poll():
            await asyncio.sleep(0.05)
            for each in tasks:
                if each.done():
                    each.result()
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"answers": len(took_ms), "refused": len(refused), "median_ms": statistics.median(took_ms)}


if __name__ == "__main__":
    sys.exit(main())
