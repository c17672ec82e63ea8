"""Several processes: two that share a batch train the same weights as one that accumulates two."""

import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from kohya_bridge.engines.child import EXIT_COMPLETED
from kohya_bridge.engines.contract import python_module_command
from scripts.host.comfy_host import free_port
from tests.forks import Forked
from tests.native_world import events, finish, start, wait_for_step

pytestmark = pytest.mark.torch


def launch(run, *, processes: int) -> subprocess.Popen:
    """The run's child in several processes, as `accelerate launch` starts them (it is a front of torch's launcher)."""
    module = python_module_command("kohya_bridge.engines.native", str(run.dir))
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        str(processes),
    ]
    environment = {**os.environ, **module.environment, "OMP_NUM_THREADS": "1"}
    with open(run.log_file, "ab") as log:
        return subprocess.Popen(
            [*launcher, *module.argv[1:]], cwd=module.cwd, env=environment, stdout=log, stderr=log
        )


def fork_ranks(run, *, processes: int) -> list[Forked]:
    """What that launcher starts, without the launcher: a process for each rank, told of the others by its environment."""
    module = python_module_command("kohya_bridge.engines.native", str(run.dir))
    together = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        Forked(
            module.argv[2],
            module.argv[3:],
            cwd=module.cwd,
            env={**os.environ, **module.environment, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            log=run.log_file,
        )
        for rank in range(processes)
    ]


def weights(run):
    return load_file(run.dir / run.checkpoint("latest")["file"])


def test_two_processes_train_the_weights_of_one_that_accumulates_two_batches(world):
    alike = {"train_batch_size": 1, "max_train_steps": 6, "validate_every_n_steps": 3}
    alone = world.run(world.plan(gradient_accumulation_steps=2, **alike), name="alone")
    both = world.run(world.plan(**alike), name="both")
    assert finish(alone) == EXIT_COMPLETED
    assert launch(both, processes=2).wait(120) == 0, both.log_tail()
    assert both.state().status == "completed"
    assert [event["seq"] for event in both.events()] == list(range(1, 1 + len(list(both.events()))))
    assert len(events(both, "run_started")) == len(events(both, "run_finished")) == 1
    assert [row[1] for row in both.state().losses] == pytest.approx([row[1] for row in alone.state().losses])
    one, two = weights(alone), weights(both)
    assert one.keys() == two.keys()
    assert all(one[key].equal(two[key]) for key in one)


def test_a_soft_stop_ends_every_process_at_the_same_step(world):
    run = world.run(world.plan(max_train_steps=5000, save_every_n_steps=0, validate_every_n_steps=0))
    ranks = fork_ranks(run, processes=2)
    wait_for_step(run, 3, ranks[0])
    run.ask("stop")
    assert [each.wait(60) for each in ranks] == [0, 0], run.log_tail()
    assert run.state().status == "stopped"
    world.go_on(run)
    again = start(run)  # one process may go on from the state of two
    wait_for_step(run, run.state().step + 2, again)
    run.ask("stop")
    again.join(60)
    assert again.exitcode == 0
