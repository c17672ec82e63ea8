"""TensorBoard itself reads what is written, and a resumed run draws every step once."""

import pytest

from kohya_bridge.engines import wandb_log
from kohya_bridge.engines.reporter import Reporter
from kohya_bridge.engines.tensorboard_log import TensorboardLog, scalars_of, write_tensorboard
from kohya_bridge.event_reader import read_events
from kohya_bridge.events import EventLog


def accumulated(folder):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard"
    )
    accumulator = reader.EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def series(folder, tag):
    events = accumulated(folder)
    rows = [each for each in events.Tensors(tag)] if tag in events.Tags()["tensors"] else events.Scalars(tag)
    return [
        (row.step, round(getattr(row, "value", None) or float(row.tensor_proto.float_val[0]), 6))
        for row in rows
    ]


def events_of(file, rows):
    ticks = iter(range(1_700_000_000, 1_800_000_000))
    log = EventLog(file, clock=lambda: next(ticks))
    for kind, fields in rows:
        log.write(kind, **fields)
    log.close()
    return list(read_events(file))


FIRST = [
    ("run_started", {"attempt": 1, "engine": "native", "pid": 1, "total": 6, "resumed_from": 0}),
    *[
        ("progress", {"step": n, "loss": n / 10, "loss_ema": n / 20, "lr": {"unet": 1e-4}})
        for n in range(1, 6)
    ],
    ("validation", {"step": 4, "loss": 0.25, "psnr": 21.5, "train_loss": 0.2}),
]
RESUMED = [
    ("run_started", {"attempt": 2, "engine": "native", "pid": 2, "total": 6, "resumed_from": 4}),
    *[("progress", {"step": n, "loss": n / 100, "lr": {"unet": 1e-4}}) for n in range(5, 7)],
    ("run_finished", {"outcome": "completed", "step": 6}),
]


def test_tensorboard_reads_losses_rates_and_held_out_measures(tmp_path):
    folder = write_tensorboard(tmp_path, events_of(tmp_path / "events.jsonl", FIRST))
    assert series(folder, "train/loss") == [(n, n / 10) for n in range(1, 6)]
    assert series(folder, "rate/unet")[0] == (1, 1e-4)
    assert series(folder, "held_out/psnr_db") == [(4, 21.5)]


def test_steps_that_were_trained_again_after_a_resume_are_drawn_once(tmp_path):
    folder = write_tensorboard(tmp_path, events_of(tmp_path / "events.jsonl", FIRST + RESUMED))
    assert len(list(folder.iterdir())) == 2
    assert series(folder, "train/loss") == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.05), (6, 0.06)]


def test_a_loss_that_is_no_number_is_left_out():
    assert dict(scalars_of({"kind": "progress", "step": 1, "loss": "nan", "lr": None})) == {}


def test_writing_again_from_the_events_gives_the_same_bytes(tmp_path):
    events = events_of(tmp_path / "events.jsonl", FIRST)
    first = {file.name: file.read_bytes() for file in write_tensorboard(tmp_path, events).iterdir()}
    assert first == {file.name: file.read_bytes() for file in write_tensorboard(tmp_path, events).iterdir()}
    assert not any(b"/" in data.split(b"brain.Event:2")[0] for data in first.values())


def test_the_file_grows_while_the_run_goes_on(tmp_path):
    log = TensorboardLog(tmp_path)
    for event in events_of(tmp_path / "events.jsonl", FIRST):
        log.take(event)
    assert len(series(tmp_path / "tensorboard", "held_out/loss")) == 1
    log.close()


def test_a_child_writes_them_along_with_its_events(tmp_path):
    report = Reporter(tmp_path, keep_states=2)
    report.started(engine="native", total=2)
    report.progress(1, loss=0.5, epoch=1, lr={"unet": 1e-3})
    report.finished("completed")
    assert series(tmp_path / "tensorboard", "train/loss") == [(1, 0.5)]


def test_a_folder_that_cannot_be_written_is_a_notice_and_training_goes_on(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    report = Reporter(tmp_path, keep_states=2)
    report.started(engine="native", total=2)
    report.progress(1, loss=0.5, epoch=1, lr={})
    kinds = [event["kind"] for event in read_events(tmp_path / "events.jsonl")]
    assert kinds == ["run_started", "notice", "progress"]


def test_weights_and_biases_needs_its_variable_and_says_when_its_package_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert not wandb_log.wanted() and wandb_log.wandb_problem() == ""
    monkeypatch.setenv("WANDB_PROJECT", "loras")
    assert wandb_log.wanted()


def test_weights_and_biases_offline_gets_the_numbers_and_no_key_lands_in_the_run_folder(
    tmp_path, monkeypatch
):
    pytest.importorskip("wandb", reason="wandb is not installed")
    for name, value in {"WANDB_PROJECT": "loras", "WANDB_MODE": "offline", "WANDB_API_KEY": "k" * 40}.items():
        monkeypatch.setenv(name, value)
    run_dir = tmp_path / "alice" / "0123456789ab"
    run_dir.mkdir(parents=True)
    log = wandb_log.WandbLog(run_dir, config={"seed": 42})
    for event in events_of(run_dir / "events.jsonl", FIRST + RESUMED):
        log.take(event)
    written = [file for file in run_dir.rglob("*") if file.is_file() and not file.is_symlink()]
    assert any(file.suffix == ".wandb" for file in written)
    assert not any(b"k" * 40 in file.read_bytes() for file in written)


def test_writing_again_leaves_a_persons_own_files(tmp_path):
    folder = write_tensorboard(tmp_path, events_of(tmp_path / "events.jsonl", FIRST))
    mine = folder / "events.out.tfevents.1234567890.mine"
    mine.write_bytes(b"mine")
    ours = {each.name for each in folder.iterdir()} - {mine.name}
    write_tensorboard(tmp_path, events_of(tmp_path / "events.jsonl", FIRST))
    assert {each.name for each in folder.iterdir()} == {*ours, mine.name}
