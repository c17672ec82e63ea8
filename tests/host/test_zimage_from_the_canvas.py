"""The shipped Z-Image workflow in the real ComfyUI: opened in its page, made small there, queued by its Run button, trained in
background mode, killed once and resumed, drawn by its own loaders for every checkpoint, packaged, loaded again and rendered.

The model has Z-Image's classes and few and narrow blocks, a size that ComfyUI's detection can't know: `tests/host_models/pack` says it.
"""

import json
import os
import re
import signal

import pytest
from PIL import Image
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from kohya_bridge.desk import Desk
from kohya_bridge.models.lora_facts import check_lora, read_lora_facts
from kohya_bridge.models.starting_lora import NAMED
from kohya_bridge.package.recipe import read_recipe
from kohya_bridge.reproduce import prepare, reproduce
from kohya_bridge.runs.unattended import read
from kohya_bridge.runs.usual_grid import usual_grid
from kohya_bridge.workspace import Workspace
from scripts.host.comfy_client import outcome
from scripts.host.launch import CPU_TORCHVISION
from tests.host.canvas import API_DIR, REDUCED_MODELS, example, id_of, nodes_of, said
from tests.host.test_training_in_the_background import held_history, runs, wait_for

pytestmark = [pytest.mark.host, pytest.mark.browser, pytest.mark.timeout(600)]

NAME = "train_a_zimage_character"
STEPS, EVERY = 12, 6
MORE = "min_bucket_reso: 64\nmax_bucket_reso: 128\nnetwork_dim: 2\nnetwork_alpha: 2\nunet_lr: 0.005\nlr_scheduler: constant\n"
SMALL = {"width": 64, "height": 64}
MADE_SMALL = {
    "WizdroidCaptionExport": {"dataset_name": "zimage", "folder": "input/wren"},
    "WizdroidTrainingSettings": {"save_every_n_steps": EVERY, "validate_every_n_steps": EVERY, "more": MORE},
    "WizdroidKohyaTrain": {"steps": STEPS, "resolution": 64, "validate_checkpoints": True},
    "WizdroidLoraValidateGrid": {**SMALL, "steps": 2},
    "EmptySD3LatentImage": SMALL,
    "KSampler": {"steps": 2},
}
"""What a test of seconds changes in the shipped canvas; the names of its three files stay."""
LOADERS = {"UNETLoader": "unet_name", "CLIPLoader": "clip_name", "VAELoader": "vae_name"}

ON_THE_CANVAS = """async ({workflow, changes}) => {
    await window.app.loadGraphData(workflow);
    const nodes = window.app.graph._nodes;
    for (const node of nodes)
        for (const [name, value] of Object.entries(changes[node.type] ?? {}))
            node.widgets.find((widget) => widget.name === name).value = value;
    return nodes.filter((node) => !window.LiteGraph.registered_node_types[node.type]).map((node) => node.type);
}"""


@pytest.fixture(scope="module")
def files(comfy):
    """The reduced family's files in ComfyUI's folders, under the names that the shipped workflow has."""
    shipped = example(NAME)
    names = [nodes_of(shipped, loader)[0]["inputs"][key] for loader, key in LOADERS.items()]
    inputs = dict(zip(("diffusion_model", "text_encoder", "vae"), names, strict=True))
    prompt = {"1": {"class_type": "ReducedModelFiles", "inputs": {"family": "zimage", **inputs}}}
    return comfy.client.run(prompt)["outputs"]["1"]["text"]


@pytest.fixture(scope="module")
def canvas(comfy, files, browser):
    """ComfyUI's page with the shipped file on it, made small. Its Run button gives the id of what it queued."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(comfy.url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager")
    page.keyboard.press("Escape")  # closes what a first visit may have opened
    workflow = json.loads((API_DIR.parent / f"{NAME}.json").read_text("utf-8"))
    assert page.evaluate(ON_THE_CANVAS, {"workflow": workflow, "changes": MADE_SMALL}) == []

    def run():
        """A prompt may wait at the door behind others for a trainer's step to end, half a minute each."""
        asked = []
        page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        try:
            with page.expect_response(
                lambda answer: answer.url.endswith("/prompt"), timeout=150_000
            ) as queued:
                page.get_by_role("button", name=re.compile("^Run")).first.click()
        except PlaywrightTimeout:
            pytest.fail(
                f"No prompt was answered. {asked[-10:]} {page.inner_text('body')[-1500:]} {comfy.log_tail(40)}"
            )
        return queued.value.json()["prompt_id"]

    yield run
    context.close()


@pytest.fixture(scope="module")
def trained(comfy, canvas):
    """The run, killed at half its way and queued again, and what was held back until it had finished."""
    known, log = set(comfy.client.get("history")), len(comfy.log())
    known.add(first := canvas())
    history = comfy.client.wait(first)
    assert outcome(history) == "success", comfy.log_tail(60)
    (run,) = runs(comfy, "zimage")
    run.ask("sample")
    wait_for(lambda: run.state().step > EVERY or run.state().is_finished, what="half of the steps")
    os.kill(run.identity().pid, signal.SIGKILL)
    wait_for(lambda: run.state().is_finished, what="the kill was noticed")
    killed_at = run.state().step
    known.add(again := canvas())
    assert outcome(comfy.client.wait(again)) == "success", comfy.log_tail(60)
    wait_for(lambda: run.state().is_finished, what="the run ended")
    assert run.state().status == "completed", run.log_tail()
    held = wait_for(lambda: held_history(comfy, known), what="the held-back nodes ran")
    wait_for(lambda: len(read(run).over) == STEPS // EVERY, what="a grid for every checkpoint")
    return run, history["prompt"][2], held, killed_at, comfy.log()[log:]


def test_a_lora_that_a_training_begins_with_or_stands_on_is_chosen_from_comfyuis_list(comfy):
    node = comfy.client.get("object_info/WizdroidTrainingSettings")["WizdroidTrainingSettings"]
    for name in NAMED:
        kind, options = node["input"]["required"][name]
        listed = options["options"] if kind == "COMBO" else kind
        assert listed[0] == "(none)" and options["tooltip"], name


def test_it_trains_through_comfyuis_own_models_and_goes_on_after_a_kill(trained):
    run, _, _, killed_at, _ = trained
    state = run.state()
    assert run.plan().base_model.family == "zimage" and run.plan().host
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


def test_every_checkpoint_has_a_grid_by_the_canvas_own_loaders(comfy, trained):
    run = trained[0]
    wanted = read(run)
    assert set(wanted.over.values()) == {"success"}
    loaders = {node["class_type"] for node in wanted.prompt.values()}
    assert {"UNETLoader", "CLIPLoader", "VAELoader", "ModelSamplingAuraFlow"} <= loaders
    folder = comfy.workspace_dir / "validations" / run.slug / run.run_id
    for step in range(EVERY, STEPS + 1, EVERY):
        assert list(folder.glob(f"grid-step{step:08d}-*.png"))


def test_a_canvas_without_a_grid_gets_one_by_the_familys_loaders(comfy, trained):
    run = trained[0]
    opener = {"class_type": "WizdroidTrainingRun", "inputs": {"run_name": f"{run.slug}/{run.run_id}"}}
    prompt = usual_grid(run.plan(), whole=False, opener=opener, grid="WizdroidLoraValidateGrid").prompt
    prompt["grid"]["inputs"]["steps"] = 2
    assert {*LOADERS, "ModelSamplingAuraFlow"} <= {node["class_type"] for node in prompt.values()}
    history = comfy.client.run(prompt)
    assert outcome(history) == "success", comfy.log_tail(60)
    assert history["outputs"]["grid"]["images"]


def test_its_card_names_the_family_and_the_recipe_in_it_gives_the_same_bytes_without_a_kill(
    comfy, trained, monkeypatch
):
    run, prompt, held, _, _ = trained
    file = comfy.loras_dir / said(held, prompt, "WizdroidPackageLora").splitlines()[0]
    card = file.with_name(f"{file.stem}.model-card.md").read_text("utf-8")
    assert "Z-Image" in card and "native" in card
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
