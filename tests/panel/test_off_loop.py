"""The panel's work beside ComfyUI's event loop: in a few threads of its own, and no look at the disk from the loop. Counted, not timed."""

import asyncio
import builtins
import io
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import ClientSession
from filelock import FileLock

from kohya_bridge import breathing
from kohya_bridge.desk import Desk
from kohya_bridge.errors import Busy
from kohya_bridge.workspace import Workspace
from tests.panel.loaded_pack import pack_module
from tests.panel.stage import Stage
from tests.rehearsed_runs import rehearse, rehearsed_plan
from tests.waiting import wait_until

BASE = "/wizdroid/training"
LOOKS = [(os, name) for name in ("stat", "lstat", "scandir", "listdir", "open", "replace", "unlink", "mkdir")]
LOOKS += [(builtins, "open"), (io, "open")]


def in_a_loop(main):
    """In a thread of its own: a test's own may have Playwright's loop running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, main()).result()


@pytest.fixture
def looked(monkeypatch):
    """What each thread asked the disk for, by the thread's name."""
    seen: dict[str, list[str]] = {}

    def noting(name, real):
        def look(*args, **named):
            seen.setdefault(threading.current_thread().name, []).append(f"{name} {args[:1]}")
            return real(*args, **named)

        return look

    for module, name in LOOKS:
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    return seen


def test_no_route_looks_at_the_disk_from_the_loop(workspace, looked):
    """Every line of the route table, with answers and with refusals."""
    story = rehearse(workspace, rehearsed_plan(max_train_steps=400)).start().train(1, 120)
    other = rehearse(workspace, rehearsed_plan(dataset="smith", max_train_steps=300)).start().train(1, 20)
    routes = pack_module("nodes.routes").ROUTES
    words = {"{name}": "sample-samples~step00000100-0.png", "{which}": "latest", "{what}": "grids"}
    bodies = {"queue": {"run_id": story.run.run_id, "position": 1}, "runs/{run}/delete": {}}

    async def main(url):
        statuses = Counter()
        async with ClientSession() as session:
            for route in sorted(routes, key=lambda each: each.path.endswith("delete")):
                path = route.path.replace("{run}", story.run.run_id)
                for name, word in words.items():
                    path = path.replace(name, word)
                if path == "compare":
                    path += f"?runs={story.run.run_id},{other.run.run_id}"
                for each in (path, path.replace(story.run.run_id, "0" * 12)):
                    body = {"json": bodies.get(route.path, {})} if route.method == "POST" else {}
                    async with session.request(route.method, f"{url}{BASE}/{each}", **body) as answer:
                        await answer.read()
                        statuses[answer.status] += 1
        return statuses

    with Stage(workspace.root) as stage:
        stage.desk.line = [story.run.run_id]
        looked.clear()
        statuses = in_a_loop(lambda: main(stage.url))
        asyncio.run_coroutine_threadsafe(_a_look(), stage._loop).result()
    assert statuses[200] >= 25 and statuses[500] == 0
    assert any("wizdroid-looking" in name for name in looked), "the answers come from the disk"
    assert looked.pop("stage") == ["stat ('/',)"], "the one that this test asked for itself"


async def _a_look():
    os.stat("/")


def test_who_asks_the_same_before_it_is_begun_gets_the_same_answer(off_loop):
    shared_answers = pack_module("nodes.shared_answers")
    room = off_loop.Room(1, name="trial", most_waiting=5)
    go, calls = threading.Event(), []

    def answer():
        calls.append(threading.current_thread().name)
        return object()

    async def main():
        answers = shared_answers.SharedAnswers(room)
        busy = asyncio.create_task(room.do(go.wait))
        asked = [asyncio.create_task(answers.get("list", answer)) for _ in range(30)]
        await asyncio.sleep(0)
        asked[0].cancel()  # one page leaves
        await asyncio.sleep(0)
        go.set()
        told = await asyncio.gather(*asked[1:], busy)
        later = await answers.get("list", answer)
        return told[:-1], later

    told, later = in_a_loop(main)
    assert len(set(map(id, told))) == 1 and later is not told[0]
    assert len(calls) == 2 and len(set(calls)) == 1


def test_more_than_a_room_holds_is_sent_away_in_words_and_later_there_is_room_again(off_loop):
    room, go = off_loop.Room(2, name="full", most_waiting=3), threading.Event()

    async def main():
        under_way = [asyncio.create_task(room.do(go.wait)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(pack_module("kohya_bridge.errors").Busy, match="more than it can answer now"):
            await room.do(print, "never")
        assert sum(each.name.startswith("wizdroid-full") for each in threading.enumerate()) == 2
        go.set()
        await asyncio.gather(*under_way)
        # A thread tells of its result a moment before it is free again.
        wait_until(lambda: room._pool.under_way == 0)
        return await room.do(int, "7")

    assert in_a_loop(main) == 7


@pytest.fixture
def off_loop():
    return pack_module("nodes.off_loop")


def test_a_page_is_told_who_holds_the_runs_instead_of_waiting(workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=400)).start().train(1, 20)
    lock = workspace.runs_dir / ".slot.lock"
    script = f"import filelock, sys; lock = filelock.FileLock({str(lock)!r}); lock.acquire(); print(flush=True); sys.stdin.read()"
    desk = Desk(Workspace.at(workspace.root)).within(0.01)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        with pytest.raises(Busy) as refused:
            desk.stop(story.run.run_id)
        holder.stdin.close()
    who = f"Another program (process {holder.pid})" if sys.platform == "linux" else "Another program"
    assert refused.value.problem == f"{who} has held the runs of this workspace for 0.01 seconds."
    desk.stop(story.run.run_id)  # nobody holds them any more


def test_busy_is_told_as_503_with_when_to_ask_again(stage, training, monkeypatch):
    async def ask():
        async with (
            ClientSession() as session,
            session.post(f"{stage.url}{BASE}/runs/{training.run.run_id}/stop", json={}) as answer,
        ):
            return answer.status, answer.headers["Retry-After"], await answer.json()

    def busy(run_id, at_once):
        raise pack_module("kohya_bridge.errors").Busy("Another program has them.", "Try again in a moment.")

    monkeypatch.setattr(stage.desk, "stop", busy)
    told = {"problem": "Another program has them.", "fix": "Try again in a moment."}
    assert in_a_loop(ask) == (503, "1", told)


def test_a_long_answer_goes_out_short_to_who_can_read_that(stage, workspace):
    for name in (f"char_{number}" for number in range(30)):
        rehearse(workspace, rehearsed_plan(dataset=name, max_train_steps=40)).start().close()

    async def lengths():
        async with ClientSession(auto_decompress=False) as session:
            told = []
            for coding in ("gzip, deflate", "identity"):
                async with session.get(
                    f"{stage.url}{BASE}/runs", headers={"Accept-Encoding": coding}
                ) as answer:
                    told.append((answer.headers.get("Content-Encoding"), len(await answer.read())))
            return told

    (short, few), (plain, many) = in_a_loop(lengths)
    assert (short, plain) == ("gzip", None) and few < many / 4


@pytest.fixture
def rests(monkeypatch):
    """Seconds of each rest, none of which lasts."""
    taken: list[float] = []
    monkeypatch.setattr(breathing.time, "sleep", taken.append)
    return taken


def test_only_a_thread_beside_a_loop_rests_between_two_parts_of_its_work(rests, monkeypatch):
    monkeypatch.setattr(breathing, "OTHERS", breathing.Others())
    for _ in range(1000):
        breathing.breathe()
    assert rests == []

    def beside():
        breathing.work_beside_a_loop()
        breathing.breathe()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(beside).result()
    assert rests == [pytest.approx(breathing.BLIND_REST_S)], "nobody told it of a loop"
    with ThreadPoolExecutor(3) as threads:
        for each in [threads.submit(beside) for _ in range(3)]:
            each.result()
    assert max(rests) > 2 * breathing.BLIND_REST_S, "several threads rest in turns"
    monkeypatch.setattr(breathing, "_next_turn", 0.0)
    monkeypatch.setattr(breathing.OTHERS, "_loop", 0)
    monkeypatch.setattr(breathing.OTHERS, "are_at_work", lambda: True)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(beside).result()
    assert rests[-1] == pytest.approx(breathing.REST_S)
    monkeypatch.setattr(breathing.OTHERS, "are_at_work", lambda: False)
    rests.clear()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(beside).result()
    assert rests == []


@pytest.mark.skipif(
    not hasattr(time, "pthread_getcpuclockid"), reason="no clock of a thread's processor time"
)
def test_nobody_rests_where_the_loop_only_waits_and_nobody_else_works():
    others = breathing.Others()
    assert others.are_at_work(), "unknown"

    def look():
        """As a thread that works and breathes."""
        began = time.thread_time()
        until = time.perf_counter() + breathing.WORK_S
        while time.perf_counter() < until:
            pass
        others.breathed(time.thread_time() - began)
        return others.are_at_work()

    def spin(enough):
        while not enough.is_set():
            sum(range(1000))

    async def becomes(thread, expected, pause_s):
        found = thread.submit(wait_until, lambda: look() is expected)
        while not found.done():
            await asyncio.sleep(pause_s)
        found.result()

    async def main():
        others.loop_is_here()
        enough = threading.Event()
        with ThreadPoolExecutor(2) as thread:
            try:
                await becomes(thread, False, pause_s=0.5)  # the loop waits
                await becomes(thread, True, pause_s=0)  # it works
                await becomes(thread, False, pause_s=0.5)
                rendering = thread.submit(spin, enough)
                await becomes(thread, True, pause_s=0.5)
            finally:
                enough.set()
            rendering.result()
            await becomes(thread, False, pause_s=0.5)

    in_a_loop(main)
    assert others.are_at_work(), "its thread has ended: unknown again"


def test_what_took_long_is_begun_again_only_after_a_while_and_then_for_all(off_loop, monkeypatch):
    shared_answers = pack_module("nodes.shared_answers")
    paused, spent = [], iter((0.0, 0.5) * 4)  # seconds of the processor: each answer takes half of one
    monkeypatch.setattr(shared_answers, "thread_time", lambda: next(spent))
    sleep = asyncio.sleep

    async def noted(seconds):
        paused.append(seconds)
        await sleep(0)

    monkeypatch.setattr(shared_answers.asyncio, "sleep", noted)

    async def main():
        answers = shared_answers.SharedAnswers(off_loop.Room(1, name="slow", most_waiting=5))
        for _ in range(2):
            first = await answers.get("list", object)
        assert paused == [], "who asks alone does not wait"
        await asyncio.gather(*(answers.get("list", object) for _ in range(2)))
        assert paused == []
        again = await asyncio.gather(*(answers.get("list", object) for _ in range(20)))
        assert len(set(map(id, again))) == 1 and again[0] is not first
        assert paused == [pytest.approx(shared_answers.MOST_PAUSE_S, abs=0.5)], "it waits once for all twenty"

    in_a_loop(main)


def test_a_reading_of_many_runs_breathes_at_each_of_them(workspace, monkeypatch):
    from kohya_bridge.runs import run_list

    for name in (f"char_{number}" for number in range(12)):
        rehearse(workspace, rehearsed_plan(dataset=name, max_train_steps=40)).start().close()
    breaths = []
    monkeypatch.setattr(run_list, "breathe", lambda: breaths.append(1))
    runs = run_list.RunList(workspace)
    assert len(runs.lines()) == 12 and len(breaths) >= 12
    breaths.clear()
    assert len(runs.lines("char_3")) == 1 and len(breaths) < 12, "one character's runs alone are looked at"
    assert len(runs.lines()) == 12


def test_requests_that_wait_for_the_runs_keep_nobody_from_looking(workspace, monkeypatch):
    """Forty at once, with the desk itself, and the runs held by somebody else; `tests/host` has the same in the real ComfyUI."""
    run = rehearse(workspace, rehearsed_plan(max_train_steps=400)).start().train(1, 20).run
    stage = Stage(workspace.root)
    stage.desk = pack_module("kohya_bridge.desk").Desk(stage.workspace)
    monkeypatch.setattr(stage.routes_module, "PATIENCE_S", 0.5)

    async def main(url):
        async with ClientSession() as session:

            async def stop():
                async with session.post(f"{url}{BASE}/runs/{run.run_id}/stop", json={}) as answer:
                    return answer.status, (await answer.json())["problem"]

            waiting = [asyncio.create_task(stop()) for _ in range(50)]
            looks = []
            for path in ("runs", f"runs/{run.run_id}", "held") * 3:
                async with session.get(f"{url}{BASE}/{path}") as answer:
                    looks.append(answer.status)
            undecided = sum(not each.done() for each in waiting)
            threads = [
                each.name for each in threading.enumerate() if each.name.startswith("wizdroid-steering")
            ]
            return looks, undecided, threads, await asyncio.gather(*waiting)

    with stage, FileLock(workspace.runs_dir / ".slot.lock"):
        looks, undecided, threads, told = in_a_loop(lambda: main(stage.url))
    assert set(looks) == {200} and undecided > 0
    assert len(threads) <= 4
    assert {status for status, _ in told} == {503}
    assert {"has held" in problem or "more than it can answer" in problem for _, problem in told} == {True}
