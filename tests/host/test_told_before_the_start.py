"""What stands in the way of a training is told before anything runs, in words, and what one node accepts the next one accepts."""

import json
import re

import pytest
from playwright.sync_api import expect

from scripts.host.comfy_client import PromptRefused, outcome
from tests.datasets.lint_world import varied_picture
from tests.host.canvas import changed, id_of, lint_and_train, only_training, said
from tests.host.test_training_in_the_background import runs

pytestmark = pytest.mark.host

NO_BASE = "(no model in ComfyUI's folders)"


@pytest.mark.parametrize("name", [NO_BASE, "gone.safetensors"])
def test_a_base_model_that_is_not_there_is_refused_at_once_with_what_to_choose(comfy, name):
    prompt = only_training(dataset="no_base", base_model=name)
    with pytest.raises(PromptRefused) as refused:
        comfy.client.queue(prompt)
    (error,) = refused.value.answer["node_errors"][id_of(prompt, "WizdroidKohyaTrain")]["errors"]
    assert "choose another base_model" in error["details"] and "wizdroid_demo_base" in error["details"]
    assert str(comfy.base_dir) not in error["details"]


def test_a_failure_has_a_name_for_people(comfy):
    prompt = {
        "1": {"class_type": "WizdroidTrainingRun", "inputs": {"run_name": "(no run yet)"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 1]}},
    }
    if runs(comfy, "live"):  # the list has runs then, and ComfyUI refuses the placeholder itself
        pytest.skip("another test's run is there")
    history = comfy.client.run(prompt)
    (error,) = [body for kind, body in history["status"]["messages"] if kind == "execution_error"]
    assert error["exception_type"] == "Wizdroid training"
    assert error["exception_message"].strip().splitlines() == [
        "There is no run yet.",
        "Train one with Kohya Train.",
    ]


@pytest.fixture
def small_pictures(comfy):
    """A dataset of the workspace whose pictures are 200 px on each side."""
    folder = comfy.workspace_dir / "kohya" / "datasets" / "two_hundred"
    if not folder.exists():
        (folder / "images").mkdir(parents=True)
        names = [f"{number:04d}.png" for number in range(1, 16)]
        for number, name in enumerate(names, start=1):
            varied_picture(number, (200, 200)).save(folder / "images" / name)
        rows = [{"file_name": name, "prompt": f"char_zed, portrait {name[:4]}"} for name in names]
        (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        (folder / "metadata.yaml").write_text("lora_tag: char_zed\nlicence: CC0-1.0\n", "utf-8")
    return folder


def test_pictures_that_are_large_enough_for_the_training_are_linted_and_trained(comfy, small_pictures):
    prompt = changed(
        lint_and_train(dataset=small_pictures.name, steps=2), "WizdroidDatasetLint", min_side=768
    )
    history = comfy.client.run(prompt)
    assert outcome(history) == "success"
    assert "768 px on the shortest side are advised" in said(history, prompt, "WizdroidDatasetLint")
    assert [run.state().status for run in runs(comfy, small_pictures.name)] == ["completed"]


def test_pictures_too_small_for_the_training_behind_are_held_back_with_every_way_out(comfy, small_pictures):
    already = len(list(runs(comfy, small_pictures.name)))
    prompt = lint_and_train(dataset=small_pictures.name, steps=2, resolution=512)
    told = str(comfy.client.run(prompt))
    for way_out in (
        "larger original",
        "lower the resolution",
        "bucket_no_upscale",
        "{rule: E202, reason: why}",
        "metadata.yaml",
    ):
        assert way_out in told
    assert len(list(runs(comfy, small_pictures.name))) == already


@pytest.mark.parametrize(("wired", "writer"), [(False, "person"), (True, "builder")])
def test_captions_of_the_canvas_are_plain_words_with_who_wrote_them(comfy, wired, writer):
    slug = f"written_by_{writer}"
    prompt = only_training(dataset=slug)
    del prompt[id_of(prompt, "WizdroidDatasetLint")], prompt[id_of(prompt, "WizdroidKohyaTrain")]
    caption = (
        [id_of(prompt, "WizdroidCharacterPromptBuilder"), 0]
        if wired
        else "char_zed, (red hat:1.3), <lora:zed:1>"
    )
    prompt["80"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255},
    }
    changed(
        prompt,
        "WizdroidCaptionExport",
        folder="(the wired images)",
        images=["80", 0],
        captions=caption,
        trigger="char_zed",
    )
    assert outcome(comfy.client.run(prompt)) == "success"
    file = comfy.workspace_dir / "kohya" / "datasets" / slug / "captions.jsonl"
    (row,) = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert row["source"] == writer
    if not wired:
        assert row["prompt"] == "char_zed, red hat"


@pytest.mark.browser
def test_a_click_on_run_exports_a_flat_folder_and_says_what_is_missing(comfy, new_page):
    """Pictures flat in input/NAME, as tooltip, help and guide say; and a base model that is still to be chosen."""
    flat = comfy.base_dir / "input" / "flat_wren"
    flat.mkdir(exist_ok=True)
    for number in (1, 2, 3):
        varied_picture(number, (96, 96)).save(flat / f"{number}.png")
        (flat / f"{number}.txt").write_text(f"char_wren, portrait {number}", "utf-8")
    prompt = only_training(dataset="flat_wren", base_model=NO_BASE)
    changed(prompt, "WizdroidCaptionExport", folder="input/flat_wren")
    page = new_page(viewport={"width": 1400, "height": 900})
    page.goto(comfy.url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager?.sidebarTab")
    page.keyboard.press("Escape")
    page.evaluate("(prompt) => window.app.loadApiJson(prompt, 'test')", prompt)
    page.get_by_role("button", name=re.compile("^Run")).first.click()
    expect(page.get_by_text("A node is not ready")).to_be_visible()
    expect(page.get_by_text("Nothing is chosen: choose another base_model.")).to_be_visible()
    page.wait_for_function(
        """() => window.app.graph._nodes.find((node) => node.type === 'WizdroidCaptionExport')
        ?.widgets.find((each) => each.name === 'told')?.value.includes('3 pictures, 3 with a caption')"""
    )
