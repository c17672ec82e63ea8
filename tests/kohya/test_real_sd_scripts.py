"""The real sd-scripts under the real runner: trainings of a tiny Stable Diffusion 1.5, and every failure provoked for real.

Runs wherever sd-scripts is set up (KOHYA_SD_SCRIPTS, KOHYA_PYTHON, or `make kohya`).
"""

from __future__ import annotations

import os
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kohya_bridge.engines.failures import explain_death
from kohya_bridge.models.comfy_folders import default_tokenizer_dir
from kohya_bridge.models.lora_facts import check_lora, read_lora_facts
from kohya_bridge.package import package_lora
from kohya_bridge.workspace import Workspace
from tests.kohya.hostile_states import as_before, plant_pickle
from tests.kohya_bench import Bench, at_step, find_checkout_or_skip, make_dataset, wait_for, weights

pytestmark = [pytest.mark.sdscripts, pytest.mark.timeout(1800)]

TINY = Path(__file__).parent.parent / "doubles" / "tiny_sd_scripts.py"
PACK = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    checkout, interpreter = find_checkout_or_skip()
    file = tmp_path_factory.mktemp("bases") / "models" / "checkpoints" / "tiny_sd15.safetensors"
    file.parent.mkdir(parents=True)
    environment = {
        **os.environ,
        "KOHYA_SD_SCRIPTS": str(checkout.dir),
        "PYTHONPATH": str(PACK),
        "HF_HUB_OFFLINE": "1",
    }
    subprocess.run(
        [str(interpreter), str(TINY), "make", str(file)], env=environment, check=True, capture_output=True
    )
    return file


@pytest.fixture
def bench(tmp_path, tiny_base, monkeypatch):
    checkout, _ = find_checkout_or_skip()
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(checkout.dir))
    dataset = make_dataset(tmp_path / "datasets" / "dots")
    return Bench(
        tmp_path,
        dataset,
        tiny_base,
        default_tokenizer_dir(),
        argv=lambda argv: [argv[0], str(TINY), argv[-1]],
        environment={"KOHYA_SD_SCRIPTS": str(checkout.dir)},
    )


def test_events_say_what_sd_scripts_own_tensorboard_log_says(bench):
    ended = bench.train(bench.plan(max_train_steps=7), KOHYA_TENSORBOARD="1")
    assert ended.code == 0, ended.run.log_tail()
    loader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard reads the log"
    )
    (folder,) = {each.parent for each in (ended.run.dir / "sd_scripts_log").rglob("events.out.tfevents.*")}
    log = loader.EventAccumulator(str(folder))
    log.Reload()
    told = {row.step: row.value for row in log.Scalars("loss/current")}
    rates = {row.step: row.value for row in log.Scalars("lr/unet")}
    for step, (loss, lr, _) in ended.losses().items():
        assert told[step] == pytest.approx(loss, rel=1e-6)
        assert rates[step] == pytest.approx(lr["unet"], rel=1e-6)
    held_out = {row.step: row.value for row in log.Scalars("loss/validation/step_average")}
    assert held_out[5] == pytest.approx(ended.of("validation")[0]["loss"], rel=1e-6)


def test_the_bar_that_sd_scripts_draws_ends_at_the_step_that_the_events_name(bench):
    ended = bench.train(bench.plan(max_train_steps=4, validation_split=0.0))
    assert "4/4" in ended.run.log_tail(3)
    assert max(ended.losses()) == 4


def test_the_lora_has_sd_scripts_own_names_and_metadata(bench):
    ended = bench.train(bench.plan(max_train_steps=3, network_train_unet_only=False, validation_split=0.0))
    file = ended.run.dir / ended.of("checkpoint")[-1]["file"]
    assert check_lora(file, step=3) == ()
    facts = read_lora_facts(file)
    assert facts.trains_text_encoder and facts.rank == 4 and facts.family == "sd15"
    assert any(name.startswith("lora_te_text_model_encoder_layers_0_") for name in facts.modules)
    assert facts.metadata["ss_sd_scripts_commit_hash"] == find_checkout_or_skip()[0].commit
    assert facts.metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert "trigger char_dots" in facts.metadata["ss_training_comment"]


LYCORIS = {
    "LoKr": ["algo=lokr", "factor=4", "preset=attn-mlp"],
    "LoHa": ["algo=loha", "preset=attn-mlp"],
    "DoRA": ["algo=locon", "dora_wd=True", "preset=attn-mlp"],
    "OFT": ["algo=diag-oft", "preset=attn-mlp"],
}


def stopped_at(step):
    def act(run, child):
        at_step(step)(run, child)
        run.ask("stop")

    return act


@pytest.mark.parametrize("kind", LYCORIS)
def test_a_lora_of_lycoris_is_trained_goes_on_after_a_stop_and_is_packaged(bench, kind, tmp_path):
    _, interpreter = find_checkout_or_skip()
    if subprocess.run([str(interpreter), "-c", "import lycoris"], capture_output=True).returncode:
        pytest.skip("lycoris-lora is not installed beside sd-scripts (make kohya EXTRAS=lycoris-lora)")
    options = {"network_module": "lycoris.kohya", "network_args": LYCORIS[kind]}
    plan = bench.plan(kohya=options, max_train_steps=6, save_every_n_steps=3)
    straight = bench.train(plan, name="straight")
    assert straight.code == 0, straight.run.log_tail()
    cut = bench.train(plan, name="cut", act=stopped_at(3))
    again = bench.train(plan, name="cut", resume=cut.run.latest_state()[1])
    assert again.code == 0, again.run.log_tail()
    one, two = (each.run.dir / each.run.checkpoint("latest")["file"] for each in (straight, again))
    assert weights(one) == weights(two)
    assert check_lora(one, step=6) == ()
    assert read_lora_facts(one).kind == kind and read_lora_facts(one).family == "sd15"
    workspace = Workspace.at(tmp_path / "workspace")
    shutil.copytree(bench.dataset_dir, workspace.dataset_dir("dots"))
    (workspace.dataset_dir("dots") / "metadata.yaml").write_text(
        "lora_tag: char_dots\nlicence: CC0-1.0\nsource: drawn here\nrelease_approved: true\nrating: sfw\n"
    )
    package = package_lora(
        straight.run,
        "latest",
        lora_dir=tmp_path / "loras",
        workspace=workspace,
        hub_folder=True,
        civitai_zip=True,
    )
    assert check_lora(package.file, step=6) == () and read_lora_facts(package.file).kind == kind
    assert kind in package.card_file.read_text("utf-8")


@pytest.mark.parametrize(
    "numbers",
    [
        {"validate_every_n_steps": 3},
        {
            "gradient_accumulation_steps": 2, "num_repeats": 2, "shuffle_caption": True, "flip_aug": True,
            "network_train_unet_only": False, "caption_tag_dropout_rate": 0.2,
        },
        {"cache_latents": False},
    ],
    ids=["measured where saved", "accumulated, shuffled, text encoder", "loader workers"],
)  # fmt: skip
def test_three_interruptions_and_a_kill_train_bit_for_bit_what_one_straight_run_trains(bench, numbers):
    plan = bench.plan(max_train_steps=14, save_every_n_steps=3, **numbers)
    straight = bench.train(plan, name="straight")
    assert straight.code == 0, straight.run.log_tail()
    resume, cut = None, None
    for stop_at, how in ((3, "stop"), (7, "stop"), (11, "kill"), (None, "")):

        def interrupt(run, child, stop_at=stop_at, how=how):
            if stop_at is None:
                return
            at_step(stop_at)(run, child)
            run.ask("stop") if how == "stop" else child.kill()

        cut = bench.train(plan, name="cut", resume=resume, act=interrupt)
        state = cut.run.latest_state()
        resume = state[1] if state else None
    assert cut.finished["outcome"] == "completed", cut.run.log_tail()
    assert cut.losses() == straight.losses()
    files = [each.run.dir / each.run.checkpoint("latest")["file"] for each in (straight, cut)]
    assert weights(files[0]) == weights(files[1])


@pytest.mark.parametrize("name", ["random_states_0.pkl", "optimizer.bin"])
def test_no_pickle_of_a_received_state_runs_code(bench, tmp_path, name):
    plan = bench.plan(max_train_steps=4, save_every_n_steps=2, validation_split=0.0)
    cut = bench.train(plan, act=lambda run, child: (at_step(3)(run, child), child.kill()))
    state = cut.run.latest_state()[1]
    plant_pickle(state, name, tmp_path / "ran")
    as_before(state)
    ended = bench.train(plan, resume=state)
    assert (ended.finished["outcome"], code_of(ended)) == ("failed", "damaged_state"), ended.run.log_tail()
    assert not (tmp_path / "ran").exists()


def test_pictures_are_sampled_on_request_by_sd_scripts_own_pipeline(bench):
    def ask(run, child):
        at_step(1)(run, child)
        run.ask("sample")
        wait_for(lambda: len(run.state().samples) == 2, child)
        run.ask("stop")

    ended = bench.train(bench.plan(max_train_steps=500, validation_split=0.0), act=ask)
    assert (ended.code, ended.finished["outcome"]) == (0, "stopped"), ended.run.log_tail()
    assert all((ended.run.dir / row["file"]).is_file() for row in ended.of("sample"))


@pytest.mark.parametrize("optimiser", ["AdamW8bit", "Adafactor", "Lion", "Prodigy", "AdamWScheduleFree"])
def test_every_optimiser_of_the_settings_trains_and_saves(bench, optimiser):
    numbers = {"lr_scheduler": "constant"} if optimiser == "AdamWScheduleFree" else {}
    ended = bench.train(
        bench.plan(max_train_steps=3, optimizer_type=optimiser, validation_split=0.0, **numbers)
    )
    if ended.code and ended.finished["code"] == "missing_package":
        pytest.skip(f"{optimiser} needs a package that this interpreter lacks")
    assert ended.code == 0, ended.run.log_tail()
    assert all(loss == loss for loss, _, _ in ended.losses().values())


# --- every failure, for real ---------------------------------------------------------------------------------------------


def broken_base(bench, content):
    file = bench.root / "models" / "checkpoints" / "broken.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    bench.base_model = file


def code_of(ended) -> str:
    """The code that the child told, or the one that a look from outside finds."""
    if ended.of("run_finished"):
        return ended.finished["code"]
    return explain_death(ended.code, ended.run.log_tail(60)).code


def test_a_truncated_base_model(bench):
    broken_base(bench, struct.pack("<Q", 5000) + b"{")
    assert code_of(bench.train(bench.plan())) == "base_model_damaged"


def test_a_missing_base_model(bench):
    broken_base(bench, b"x")
    plan = bench.plan()
    bench.base_model.unlink()
    assert code_of(bench.train(plan)) == "base_model_missing"


def test_a_lora_in_place_of_a_base_model(bench):
    ended = bench.train(bench.plan(max_train_steps=1, validation_split=0.0))
    broken_base(bench, (ended.run.dir / ended.of("checkpoint")[0]["file"]).read_bytes())
    assert code_of(bench.train(bench.plan())) == "base_model_family"


def spoil_staging(run, child, *, name, content):
    """Break a staged file before the child, which is still importing, looks at it."""
    wait_for(lambda: (run.staging_dir / "dataset.toml").is_file(), child)
    (run.staging_dir / "train" / name).unlink(missing_ok=True)
    (run.staging_dir / "train" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "content", "code"),
    [
        (".txt", b"", "caption_empty"),
        (".txt", b"\xff\xfe\x00bad", "caption_encoding"),
        (".png", b"no picture", "picture_shape"),
    ],
)
def test_a_caption_or_picture_that_broke_after_staging(bench, suffix, content, code):
    plan = bench.plan(validation_split=0.0)
    ended = bench.train(
        plan, act=lambda run, child: spoil_staging(run, child, name=f"0001{suffix}", content=content)
    )
    assert code_of(ended) == code, ended.run.log_tail()


def test_a_picture_whose_end_is_missing(bench):
    whole = (bench.dataset_dir / "images" / "0001.png").read_bytes()
    plan = bench.plan(validation_split=0.0)
    ended = bench.train(
        plan,
        act=lambda run, child: spoil_staging(run, child, name="0001.png", content=whole[: len(whole) // 2]),
    )
    assert code_of(ended) == "picture_damaged", ended.run.log_tail()


def test_no_pictures_although_sd_scripts_exits_0(bench):
    for each in (bench.dataset_dir / "images").iterdir():
        each.unlink()
    ended = bench.train(bench.plan())
    assert (ended.code, code_of(ended)) == (4, "no_data")


def test_a_loss_that_is_no_number(bench):
    ended = bench.train(
        bench.plan(optimizer_args={"weight_decay": 1e30}, unet_lr=10.0, lr_scheduler="constant")
    )
    assert (ended.code, code_of(ended)) == (5, "not_finite")


def test_a_missing_package(bench):
    assert code_of(bench.train(bench.plan(kohya={"network_module": "networks.nope"}))) == "missing_package"


def test_an_option_that_no_parser_knows(bench):
    assert code_of(bench.train(bench.plan(kohya={"netwrok_dim": 8}))) == "bad_option"


def test_a_scheduler_that_does_not_exist(bench):
    assert code_of(bench.train(bench.plan(kohya={"lr_scheduler": "nope"}))) == "bad_option"


def test_a_state_of_another_network(bench):
    ended = bench.train(bench.plan(save_every_n_steps=2, max_train_steps=3, validation_split=0.0))
    state = ended.run.latest_state()[1]
    plan = bench.plan(network_train_unet_only=False, validation_split=0.0)
    copied = bench.run_folder(plan, "other").states_dir / state.name
    shutil.copytree(state, copied)
    other = bench.train(plan, name="other", resume=copied)
    assert code_of(other) == "state_does_not_fit"


def test_fp16_on_a_cpu(bench):
    ended = bench.train(bench.plan(mixed_precision="fp16", validation_split=0.0, max_train_steps=2))
    assert code_of(ended) == "precision_unsupported"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are set with Linux's prlimit")
def test_main_memory_that_runs_out(bench):
    def limit(run, child):
        """Allow no more than what the process has when it is about to load the model."""
        wait_for(lambda: "accelerator device" in run.log_tail(10), child)
        pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (8 << 20)
        resource.prlimit(child.pid, resource.RLIMIT_AS, (most, most))

    ended = bench.train(bench.plan(), act=limit)
    assert code_of(ended) == "out_of_memory", ended.run.log_tail()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are set with Linux's prlimit")
def test_a_disk_that_is_full_keeps_the_last_state(bench):
    def limit(run, child):
        wait_for(lambda: run.latest_state() is not None, child)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))

    ended = bench.train(bench.plan(max_train_steps=200, save_every_n_steps=3, network_dim=64), act=limit)
    assert code_of(ended) == "disk_full", ended.run.log_tail()
    assert ended.run.latest_state()[0] % 3 == 0


def test_a_process_that_is_killed(bench):
    ended = bench.train(
        bench.plan(max_train_steps=500), act=lambda run, child: (at_step(2)(run, child), child.kill())
    )
    assert (ended.code, code_of(ended)) == (-9, "killed")
