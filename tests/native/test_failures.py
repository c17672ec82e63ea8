"""What goes wrong is said in one sentence with what to do, costs no earlier work, and has its own exit code."""

import functools

import pytest

from kohya_bridge.engines.child import EXIT_DISK_FULL, EXIT_NO_DATA, EXIT_NOT_FINITE
from kohya_bridge.models.lora_facts import check_lora
from tests.native_world import finish, make_dataset

pytestmark = pytest.mark.torch


def limit_files(size: int) -> None:
    """No file of this process may grow beyond `size` bytes: what a full disk looks like to a writer."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_state(world):
    growing = {"weight_decay": -1000.0}  # multiplies the weights by 1001 at every step
    run = world.run(
        world.plan(optimizer_type="Lion", unet_lr=1.0, optimizer_args=growing, save_every_n_steps=2)
    )
    assert finish(run) == EXIT_NOT_FINITE
    state = run.state()
    assert state.status == "failed"
    assert "is not a number" in state.problem
    assert "learning rate" in state.fix
    assert 2 <= run.latest_state()[0] < state.step < 12
    for row in state.checkpoints:
        assert check_lora(run.dir / row["file"]) == ()


def test_a_disk_that_is_full_at_a_checkpoint_ends_the_run_and_keeps_what_was_saved(world):
    first = world.run(world.plan(max_train_steps=4), name="first")
    assert finish(first) == 0
    size = (first.dir / first.checkpoint("latest")["file"]).stat().st_size
    run = world.run(world.plan(max_train_steps=8), name="full")
    assert finish(run, before=functools.partial(limit_files, size - 1000)) == EXIT_DISK_FULL
    state = run.state()
    assert state.problem == "The disk is full."
    assert state.checkpoints == ()
    assert [each for each in run.checkpoints_dir.iterdir()] == []


def test_a_disk_that_is_full_even_for_events_is_told_by_the_exit_code(world):
    run = world.run(world.plan(max_train_steps=50))
    assert finish(run, before=functools.partial(limit_files, 2000)) == EXIT_DISK_FULL
    assert run.events_file.stat().st_size <= 2000
    assert all(event["kind"] for event in run.events())


def test_a_corrupt_picture_is_named(world):
    dataset = make_dataset(world.root / "bad", pictures=3)
    (dataset / "images" / "0001.png").write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    run = world.run(world.plan(), dataset_dir=dataset)
    assert finish(run) == EXIT_NO_DATA
    assert "0001.png" in run.state().problem
    assert "Traceback" not in run.state().problem
    assert "Traceback" in run.log_tail()


def test_an_empty_dataset_is_told(world):
    (world.root / "empty" / "images").mkdir(parents=True)
    run = world.run(world.plan(), dataset_dir=world.root / "empty")
    assert finish(run) == EXIT_NO_DATA
    assert "no pictures" in run.state().problem


def test_a_missing_base_model_is_told(world):
    run = world.run(world.plan(), base_model_file=world.root / "gone.safetensors")
    assert finish(run) != 0
    assert "gone.safetensors" in run.state().problem
    assert run.state().fix


def test_a_truncated_base_model_is_told(world):
    file = world.root / "cut.safetensors"
    file.write_bytes((world.base / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()[:5000])
    run = world.run(world.plan(), base_model_file=file)
    assert finish(run) != 0
    assert "cut.safetensors" in run.state().problem


def test_fp16_without_a_gpu_is_refused_by_the_child_too(world):
    run = world.run(world.plan(mixed_precision="fp16"))
    assert finish(run) != 0
    assert "fp16" in run.state().problem
    assert "mixed_precision to auto" in run.state().fix


@pytest.mark.parametrize("options", [{"no_such_option": 1}, {"betas": "x"}])
def test_wrong_optimiser_options_are_told(world, options):
    run = world.run(world.plan(optimizer_args=options))
    assert finish(run) != 0
    assert "optimizer_args" in run.state().problem
