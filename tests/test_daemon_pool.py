"""DaemonPool: an executor like any other, but for the exit of the process, which doesn't wait for it."""

import ast
import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kohya_bridge.daemon_pool import DaemonPool
from kohya_bridge.workspace import PACK_ROOT


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers() | st.none(), max_size=40), st.integers(1, 8))
def test_every_call_answers_its_own_future_and_at_most_as_many_run_as_were_asked_for(values, most):
    running, seen = [], []

    def call(value):
        running.append(value)
        seen.append(len(running))
        time.sleep(0.0005)
        running.pop()
        if value is None:
            raise ValueError("none")
        return value * 2

    with DaemonPool(most, name="trial") as pool:
        futures = [pool.submit(call, value) for value in values]
        wait(futures)
    for value, future in zip(values, futures, strict=True):
        if value is None:
            assert isinstance(future.exception(), ValueError)
        else:
            assert future.result() == value * 2
    assert max(seen, default=0) <= most
    assert not [each for each in threading.enumerate() if each.name.startswith("trial")]


def test_what_has_not_begun_can_be_cancelled_and_a_closed_pool_takes_nothing():
    pool, go = DaemonPool(1, name="trial"), threading.Event()
    first, second = pool.submit(go.wait), pool.submit(int)
    pool.shutdown(wait=False, cancel_futures=True)
    go.set()
    assert first.result(timeout=5)
    assert second.cancelled()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(int)


def test_asyncio_takes_it_for_an_executor():
    async def main():
        return await asyncio.get_running_loop().run_in_executor(DaemonPool(1, name="trial"), int, "7")

    with ThreadPoolExecutor(1) as thread:  # a test's own thread may have Playwright's loop running
        assert thread.submit(asyncio.run, main()).result() == 7


@pytest.mark.parametrize("executor", ["DaemonPool(1, name='work')", "ThreadPoolExecutor(1)"])
def test_a_process_that_ends_is_not_held_by_it_as_it_is_by_the_usual_one(executor):
    script = (
        "import time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from kohya_bridge.daemon_pool import DaemonPool\n"
        f"pool = {executor}\npool.submit(time.sleep, 4)\nprint('over', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=PACK_ROOT, stdout=subprocess.PIPE)
    with child:
        assert child.stdout.readline().strip() == b"over"
        began = time.monotonic()
        assert child.wait(timeout=60) == 0
    assert (time.monotonic() - began > 3) == executor.startswith("Thread")


WAITED_FOR = {
    "to_thread",
    "ThreadPoolExecutor",
    "ProcessPoolExecutor",
    "set_default_executor",
    "FileResponse",
}
"""The last one opens its file in the loop's own pool."""


@pytest.mark.parametrize("room", ["nodes", "kohya_bridge"])
def test_no_thread_of_comfyuis_process_is_waited_for_at_its_end(room):
    """What the trainers run in their own processes (`engines/`) is theirs."""
    found = []
    for file in sorted((PACK_ROOT / room).rglob("*.py")):
        if "engines" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if _is_waited_for(node):
                found.append(f"{file.relative_to(PACK_ROOT)}:{node.lineno}")
    assert found == []


def _is_waited_for(node):
    if isinstance(node, ast.alias | ast.Attribute | ast.Name):
        name = {ast.alias: "name", ast.Attribute: "attr", ast.Name: "id"}[type(node)]
        return getattr(node, name) in WAITED_FOR
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func).split(".")[-1]
    if called == "run_in_executor":
        return ast.unparse(node.args[0]) == "None"  # the loop's own, whose threads are joined
    is_daemon = any(each.arg == "daemon" and ast.unparse(each.value) == "True" for each in node.keywords)
    return called in ("Thread", "Timer") and not is_daemon
