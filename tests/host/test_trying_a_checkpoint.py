"""Try this checkpoint in every shipped workflow, by a click, in ComfyUI's own frontend and in the newest: what is queued, and what is seen.

The nodes are those of the real ComfyUI; the prompts are taken by a stage, so that nothing is rendered here. That the picture is
really drawn with the checkpoint is seen in `test_the_panel_in_comfyui.py`.
"""

import json

import pytest
from playwright.sync_api import expect

from kohya_bridge.workspace import Workspace
from scripts.host.comfy_install import ROOT
from tests.panel.frontends import FRONTENDS, missing, open_tab
from tests.panel.stage import Stage
from tests.rehearsed_runs import rehearse, rehearsed_plan

pytestmark = [pytest.mark.host, pytest.mark.browser]

RENDERING = (
    "train_a_character",
    "train_an_sdxl_character",
    "train_a_zimage_character",
    "use_a_trained_lora",
    "use_with_the_stock_loader",
)
TRAINING = "WizdroidKohyaTrain"


@pytest.fixture(params=FRONTENDS)
def stage(request, tmp_path, comfy):
    if reason := missing(request.param):
        pytest.skip(reason)
    nodes = comfy.client.get("object_info")
    with Stage(tmp_path / "training", frontend_dir=FRONTENDS[request.param], object_info=nodes) as opened:
        yield opened


def test_exactly_that_checkpoint_is_drawn_and_nothing_is_trained(stage, tmp_path, new_page):
    page = new_page(viewport={"width": 1500, "height": 900})
    open_tab(page, stage.url)
    panel = page.get_by_role("region", name="Wizdroid training")
    training_nodes_are_added_where_nothing_lies(page, panel)
    workspace = Workspace.at(tmp_path / "training")
    run = rehearse(workspace, rehearsed_plan(max_train_steps=200)).start().train(1, 200).run
    page.reload()
    open_tab(page, stage.url)
    panel.get_by_role("button", name="herbalist").first.click()
    for workflow in RENDERING:
        for step in (100, 200):
            load(page, workflow)
            the_try(panel, step).click()
            queued = stage.next_prompt()
            needed = needed_for(queued)
            used = {node["class_type"]: node["inputs"] for node in needed.values()}
            loader = used["WizdroidLoadTrainedLora"]
            told = f"{workflow}, step {step}: {sorted(used)}"
            assert [queued["prompt"][each]["class_type"] for each in queued["partial_execution_targets"]] == [
                "SaveImage"
            ], told
            assert TRAINING not in used and "WizdroidPackageLora" not in used, told
            assert "LoraLoader" not in used, told
            assert (loader["package"], loader["which"], loader["step"]) == (
                "(the run's checkpoint)",
                "step",
                step,
            ), told
            assert used["WizdroidTrainingRun"]["run_name"] == f"herbalist/{run.run_id}", told
            assert needed[used["KSampler"]["model"][0]]["class_type"] == "WizdroidLoadTrainedLora", told
            assert lying_on_each_other(page) == [], told
    the_picture_appears(stage, page, panel)
    a_second_try_differs_in_its_step_alone(stage, panel)
    settings_are_added_where_nothing_lies(page, panel)


def training_nodes_are_added_where_nothing_lies(page, panel):
    load(page, "use_a_trained_lora")
    panel.get_by_role("button", name="Add the training nodes").click()
    wait_for_node(page, TRAINING)
    assert lying_on_each_other(page) == []


def settings_are_added_where_nothing_lies(page, panel):
    """In a template whose Kohya Train has a neighbour on its left."""
    load(page, "train_a_character")
    panel.get_by_role("button", name="More actions").click()
    panel.get_by_role("menuitem", name="Train again with changes").click()
    wait_for_node(page, "WizdroidTrainingSettings")
    assert lying_on_each_other(page) == []


def wait_for_node(page, node_type):
    page.wait_for_function(
        "(type) => window.app.graph._nodes.some((node) => node.type === type)", arg=node_type
    )
    page.wait_for_timeout(300)  # a frame or two: what is drawn may grow


def the_picture_appears(stage, page, panel):
    """Beside its row, by what ComfyUI's socket tells; also after the page was opened again."""
    row = panel.get_by_role("row").filter(has=the_try(page, 200))
    expect(row.get_by_text("drawing…")).to_be_visible()
    number = len(stage.prompts)
    picture = {"filename": "tried_00001_.png", "subfolder": "", "type": "output"}
    stage.push("executed", {"node": "1", "prompt_id": f"prompt-{number}", "output": {"images": [picture]}})
    stage.push("execution_success", {"prompt_id": f"prompt-{number}"})
    expect(row.get_by_text("drawing…")).to_be_hidden()
    expect(row.get_by_alt_text("Step 200 as tried")).to_be_visible()
    row.get_by_alt_text("Step 200 as tried").click()
    expect(page.get_by_role("dialog")).to_contain_text("Step 200, as tried in the workflow")
    page.keyboard.press("Escape")
    page.reload()
    open_tab(page, stage.url)
    panel.get_by_role("button", name="herbalist").first.click()
    expect(row.get_by_alt_text("Step 200 as tried")).to_be_visible()


def a_second_try_differs_in_its_step_alone(stage, panel):
    """So ComfyUI keeps every result but the loader's and what hangs on it."""
    load(panel.page, "train_a_character")
    prompts = []
    for step in (100, 200):
        the_try(panel, step).click()
        prompts.append(needed_for(stage.next_prompt()))
    differing = {
        (node["class_type"], name)
        for key, node in prompts[0].items()
        for name, value in node["inputs"].items()
        if prompts[1][key]["inputs"][name] != value
    }
    assert differing == {("WizdroidLoadTrainedLora", "step")}


def the_try(panel, step):
    return panel.get_by_role("button", name=f"Try this checkpoint, step {step}", exact=True)


def load(page, workflow):
    """Open a shipped workflow, with an edited training: queueing that node would train anew."""
    graph = json.loads((ROOT / "example_workflows" / f"{workflow}.json").read_text("utf-8"))
    page.evaluate("(graph) => window.app.loadGraphData(graph)", graph)
    page.evaluate(
        """(type) => { for (const node of window.app.graph._nodes.filter((each) => each.type === type))
        node.widgets.find((each) => each.name === 'steps').value = 77 }""",
        TRAINING,
    )


def needed_for(queued):
    """The nodes that ComfyUI would run: those of the targets, and whatever feeds them."""
    prompt, due = queued["prompt"], list(queued["partial_execution_targets"])
    found = {}
    while due:
        key = due.pop()
        if key in found:
            continue
        found[key] = prompt[key]
        due += [value[0] for value in prompt[key]["inputs"].values() if isinstance(value, list)]
    return found


def lying_on_each_other(page):
    """Pairs of nodes that overlap on the canvas, as drawn."""
    return page.evaluate(
        """() => { const { app } = window; app.canvas.draw(true, true);
        const boxes = app.graph._nodes.map((node) => [node.type, node.pos[0], node.pos[1] - 30,
          node.pos[0] + node.size[0], node.pos[1] + node.size[1]]);
        return boxes.flatMap((a, at) => boxes.slice(at + 1).filter((b) => a[1] < b[3] && b[1] < a[3] && a[2] < b[4]
          && b[2] < a[4]).map((b) => [a[0], b[0]])); }"""
    )
