"""A family of ComfyUI's own models from the canvas of the real ComfyUI: Z-Image, trained in background mode, killed once and resumed,
drawn by its own loaders for every checkpoint, packaged, and loaded again.

The model has Z-Image's classes and few and narrow blocks, a size that ComfyUI's detection can't know: `tests/host_models/pack` says it.
It is called Turbo, whose usual grid takes 8 steps.
"""

import os
import signal

import pytest
from PIL import Image

from kohya_bridge.desk import Desk
from kohya_bridge.models.lora_facts import check_lora, read_lora_facts
from kohya_bridge.package.recipe import read_recipe
from kohya_bridge.reproduce import prepare, reproduce
from kohya_bridge.runs.unattended import read
from kohya_bridge.workspace import Workspace
from scripts.host.comfy_client import outcome
from scripts.host.launch import CPU_TORCHVISION
from tests.host.canvas import REDUCED_MODELS, changed, id_of, said, whole_job
from tests.host.test_bad_input import settings_node
from tests.host.test_training_in_the_background import held_history, runs, wait_for

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]

STEPS, EVERY = 12, 6
MORE = "min_bucket_reso: 64\nmax_bucket_reso: 128\nnetwork_dim: 2\nnetwork_alpha: 2\nunet_lr: 0.005\nlr_scheduler: constant\n"
LOADERS = {
    "4": ("UNETLoader", {"weight_dtype": "default"}),
    "40": ("CLIPLoader", {"type": "lumina2"}),
    "41": ("VAELoader", {}),
}


def canvas(comfy, files, **train):
    """The whole job with Z-Image's loaders in the place of a checkpoint's, and no grid of its own."""
    diffusion, text, vae = files
    prompt = whole_job(
        dataset="zimage", mode="background", steps=STEPS, base_model=diffusion, validate_checkpoints=True,
        rank=0, alpha=0.0, learning_rate=0.0, **train,
    )  # fmt: skip
    del prompt[id_of(prompt, "WizdroidLoraValidateGrid")]
    names = {"4": {"unet_name": diffusion}, "40": {"clip_name": text}, "41": {"vae_name": vae}}
    for name, (loader, inputs) in LOADERS.items():
        prompt[name] = {"class_type": loader, "inputs": {**inputs, **names[name]}}
    wires = {("4", 1): ["40", 0], ("4", 2): ["41", 0]}
    for node in prompt.values():
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][key] = wires.get(tuple(value), value)
    prompt[id_of(prompt, "EmptyLatentImage")]["class_type"] = "EmptySD3LatentImage"
    more = {"save_every_n_steps": EVERY, "validate_every_n_steps": EVERY, "more": MORE}
    prompt["90"] = settings_node(comfy, **more)
    chosen = {"text_encoder": text, "ae": vae}
    options = comfy.client.get("object_info/WizdroidKohyaModelFiles")["WizdroidKohyaModelFiles"]["input"][
        "required"
    ]
    files = {name: chosen.get(name, "(the one that fits)") for name in options}
    prompt["91"] = {
        "class_type": "WizdroidKohyaModelFiles",
        "inputs": {**files, "training_settings": ["90", 0]},
    }
    return changed(prompt, "WizdroidKohyaTrain", settings=["91", 0])


@pytest.fixture(scope="module")
def files(comfy):
    """Names of the reduced family's files, in ComfyUI's folders."""
    prompt = {
        "1": {"class_type": "ReducedModelFiles", "inputs": {"family": "zimage", "name": "zimage_turbo_small"}}
    }
    return comfy.client.run(prompt)["outputs"]["1"]["text"]


@pytest.fixture(scope="module")
def trained(comfy, files):
    """The run, killed at half its way and queued again, and what was held back until it had finished."""
    prompt = canvas(comfy, files)
    known, log = set(comfy.client.get("history")), len(comfy.log())
    known.add(first := comfy.client.queue(prompt))
    assert outcome(comfy.client.wait(first)) == "success", comfy.log_tail(60)
    (run,) = runs(comfy, "zimage")
    run.ask("sample")
    wait_for(lambda: run.state().step > EVERY or run.state().is_finished, what="half of the steps")
    os.kill(run.identity().pid, signal.SIGKILL)
    wait_for(lambda: run.state().is_finished, what="the kill was noticed")
    killed_at = run.state().step
    known.add(again := comfy.client.queue(prompt))
    assert outcome(comfy.client.wait(again)) == "success", comfy.log_tail(60)
    wait_for(lambda: run.state().is_finished, what="the run ended")
    assert run.state().status == "completed", run.log_tail()
    held = wait_for(lambda: held_history(comfy, known), what="the held-back nodes ran")
    wait_for(lambda: len(read(run).over) == STEPS // EVERY, what="a grid for every checkpoint")
    return run, prompt, held, killed_at, comfy.log()[log:]


def test_it_trains_through_comfyuis_own_models_and_goes_on_after_a_kill(trained):
    run, _, _, killed_at, _ = trained
    state = run.state()
    assert run.plan().base_model.family == "zimage_turbo" and run.plan().host
    assert EVERY < killed_at < STEPS and state.attempt == 2
    assert [row[0] for row in state.losses] == list(range(1, STEPS + 1))
    measured = [row["loss"] for row in state.validations]
    assert len(measured) == STEPS // EVERY + 1 and measured[-1] < measured[0]


def test_a_sample_that_was_asked_for_is_drawn_between_two_steps(trained):
    run = trained[0]
    (row,) = [each for each in run.events() if each["kind"] == "sample"]
    with Image.open(run.dir / row["file"]) as drawn:
        assert drawn.size == (64, 64)


def test_what_waited_is_packaged_loaded_without_an_unknown_key_and_drawn(comfy, trained):
    _, prompt, held, _, log = trained
    assert outcome(held) == "success", comfy.log_tail(60)
    name = said(held, prompt, "WizdroidPackageLora").splitlines()[0]
    assert name.startswith("zimage/")
    assert "lora key not loaded" not in log and "NOT LOADED" not in log
    file = comfy.loras_dir / name
    facts = read_lora_facts(file)
    assert check_lora(file) == () and len(facts.modules) > 10
    (picture,) = held["outputs"][id_of(prompt, "SaveImage")]["images"]
    with Image.open(comfy.base_dir / "output" / picture["subfolder"] / picture["filename"]) as drawn:
        assert (
            drawn.size == (64, 64) and drawn.convert("L").getextrema()[0] < drawn.convert("L").getextrema()[1]
        )


def test_every_checkpoint_has_a_grid_by_the_familys_own_loaders(comfy, trained):
    run = trained[0]
    wanted = read(run)
    assert set(wanted.over.values()) == {"success"}
    loaders = {node["class_type"] for node in wanted.prompt.values()}
    assert {"UNETLoader", "CLIPLoader", "VAELoader", "ModelSamplingAuraFlow"} <= loaders
    folder = comfy.workspace_dir / "validations" / run.slug / run.run_id
    for step in range(EVERY, STEPS + 1, EVERY):
        assert list(folder.glob(f"grid-step{step:08d}-*.png"))


def test_its_card_names_the_family_and_the_recipe_in_it_gives_the_same_bytes_without_a_kill(
    comfy, trained, monkeypatch
):
    run, prompt, held, _, _ = trained
    file = comfy.loras_dir / said(held, prompt, "WizdroidPackageLora").splitlines()[0]
    card = file.with_name(f"{file.stem}.model-card.md").read_text("utf-8")
    assert "Z-Image-Turbo" in card and "native" in card
    monkeypatch.setenv("PYTHONPATH", str(REDUCED_MODELS))
    models = comfy.base_dir / "models"
    desk = Desk(
        Workspace.at(comfy.workspace_dir),
        checkpoint_dirs=[comfy.checkpoints_dir],
        lora_dirs=[comfy.loras_dir],
        tokenizer_dir=comfy.install.dir / "comfy" / "sd1_tokenizer",
        model_dirs={
            "diffusion_models": [models / "unet", models / "diffusion_models"],
            "text_encoders": [models / "text_encoders", models / "clip"],
            "vae": [models / "vae"],
        },
        import_dirs=[CPU_TORCHVISION, comfy.install.torchvision_dir] if comfy.install.torchvision_dir else [],
    )
    recipe = read_recipe(file)
    apart, check = prepare(desk, recipe, again=True)
    over = lambda desk, run: wait_for(lambda: desk.state(run.run_id).is_finished, what="it was made again")
    made = reproduce(apart, recipe, check, follow=over)
    assert made.identical, made.verdict
    assert made.run.state().attempt == 1
    assert [row["sha256"] for row in made.run.state().checkpoints] == [
        row["sha256"] for row in run.state().checkpoints
    ]
