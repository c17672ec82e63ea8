"""A forked child is what a started one is, and spares it the imports: of nothing else is there less."""

import json
import multiprocessing
import os
import signal
import sys

import pytest

from tests.forks import Forked, forks, stand_alone
from tests.kohya_bench import DOUBLE, make_bench
from tests.native_world import World, make_base, make_dataset
from tests.waiting import wait_until

pytestmark = pytest.mark.torch
FEW = 20  # small modules that a library imports at first use cost nothing; a list in `warm.py` that went stale brought 1,700
TAKES_LONG = {"accelerate", "bitsandbytes", "diffusers", "torch", "torchvision", "transformers"}


def fork(tmp_path, how: str) -> Forked:
    return Forked(
        __name__, [how], cwd=tmp_path, env={"ONLY": "this", "PATH": os.environ["PATH"]}, log=tmp_path / "log"
    )


def test_it_has_the_arguments_folder_environment_output_and_exit_code_that_it_was_given(tmp_path):
    child = fork(tmp_path, "tell")
    assert child.wait(60) == 7 == child.poll() == child.returncode
    told, error = (tmp_path / "log").read_text().splitlines()
    assert json.loads(told) == {
        "name": "__main__",
        "argv": ["tell"],
        "cwd": str(tmp_path),
        "environment": ["ONLY", "PATH"],
        "starts its own by": multiprocessing.get_start_method(),
        "pid": child.pid,
    }
    assert error == "and an error"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_it_as_it_ends_any_process(tmp_path, number):
    child = fork(tmp_path, "sleep")
    wait_until(lambda: (tmp_path / "log").read_text() if (tmp_path / "log").exists() else "")
    assert child.poll() is None
    child.send_signal(number)
    assert child.wait(60) == (
        1 if number == signal.SIGINT else -number
    )  # Python makes an exception of SIGINT


def test_a_trainer_imports_none_of_the_large_packages_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(DOUBLE))
    monkeypatch.setenv("KOHYA_PYTHON", sys.executable)
    world = World(tmp_path, make_base(tmp_path / "base"), make_dataset(tmp_path / "dot"), tmp_path / "cache")
    run = world.run(world.plan(max_train_steps=1, optimizer_type="AdamW8bit"))
    assert len(new_modules("kohya_bridge.engines.native", run)) < FEW
    bench = make_bench(tmp_path / "bench")
    ended = bench.train(bench.plan(max_train_steps=1))
    assert len(new_modules("kohya_bridge.engines.kohya.runner", ended.run)) < FEW


def new_modules(module: str, run) -> list[str]:
    """The modules of large packages that one start of a run's child imports and the fork server had not."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = forks().Process(target=_count, args=(module, str(run.dir), sender))
    child.start()
    child.join(120)
    assert receiver.poll(), run.log_tail()
    return receiver.recv()


def _count(module: str, run_dir: str, sender) -> None:
    import runpy

    stand_alone(os.path.join(run_dir, "train.log"))
    had = set(sys.modules)
    sys.argv = [module, run_dir]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sender.send(sorted(each for each in set(sys.modules) - had if each.partition(".")[0] in TAKES_LONG))


def _tell() -> None:
    told = {
        "name": __name__,
        "argv": sys.argv[1:],
        "cwd": os.getcwd(),
        "environment": sorted(os.environ),
        "starts its own by": multiprocessing.get_start_method(),
        "pid": os.getpid(),
    }
    print(json.dumps(told))
    print("and an error", file=sys.stderr)
    sys.exit(7)


if __name__ == "__main__":
    if sys.argv[1] == "tell":
        _tell()
    print("waiting")
    signal.pause()
