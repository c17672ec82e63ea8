"""Each example workflow has two forms, and ComfyUI's own page makes the one out of the other."""

import io
import json

import pytest
from PIL import Image

from scripts.lay_out_workflows import lay_out
from tests.host.canvas import API_DIR, example

pytestmark = pytest.mark.host

NAMES = sorted(file.stem for file in API_DIR.glob("*.json"))


def canvas_form(name):
    return json.loads((API_DIR.parent / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_the_canvas_form_is_the_one_that_the_layout_script_makes(comfy, name):
    made = lay_out(example(name), comfy.client.get("object_info"))
    assert made == canvas_form(name), "run `python -m scripts.lay_out_workflows`"


@pytest.mark.parametrize("name", NAMES)
def test_no_two_nodes_of_the_canvas_overlap(name):
    nodes = canvas_form(name)["nodes"]
    boxes = [
        (*node["pos"], node["pos"][0] + node["size"][0], node["pos"][1] + node["size"][1]) for node in nodes
    ]
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one, other)


def test_the_examples_stand_in_browse_templates(comfy):
    listed = comfy.client.get("workflow_templates")
    assert sorted(listed["wizdroid-lora-training"]) == NAMES
    for name in NAMES:
        thumbnail = comfy.client.get_bytes(f"api/workflow_templates/wizdroid-lora-training/{name}.jpg")
        with Image.open(io.BytesIO(thumbnail)) as picture:
            assert picture.size == (768, 432)


@pytest.mark.browser
def test_the_page_queues_from_the_canvas_form_what_the_api_form_says(comfy, new_page):
    page = new_page(viewport={"width": 1600, "height": 1000})
    page.goto(comfy.url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager")
    for name in NAMES:
        queued = page.evaluate(
            """async (workflow) => {
                await window.app.loadGraphData(workflow);
                return (await window.app.graphToPrompt()).output;
            }""",
            canvas_form(name),
        )
        assert plain(queued) == plain(example(name)), name


def plain(prompt):
    """Nodes by id, without what only the page knows."""
    return {
        name: {
            "class_type": node["class_type"],
            "inputs": {key: _link(value) for key, value in node["inputs"].items()},
        }
        for name, node in prompt.items()
    }


def _link(value):
    return [str(value[0]), value[1]] if isinstance(value, list) else value
