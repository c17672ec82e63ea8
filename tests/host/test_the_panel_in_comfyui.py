"""The panel in the real ComfyUI: a run is started, watched, stopped, resumed, survives ComfyUI, and its LoRA is tried."""

import re
import time

import pytest
from playwright.sync_api import expect

from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import Workspace
from tests.host.canvas import only_training, plain_render
from tests.panel.frontends import FRONTENDS, missing, open_tab

# Two whole lives of a ComfyUI with a page open take minutes, so `make test-full` runs them.
pytestmark = [pytest.mark.host, pytest.mark.browser, pytest.mark.full, pytest.mark.timeout(600)]

TRAINS_S = 150
TRAINS_MS = 1000 * TRAINS_S


@pytest.fixture
def open_panel(own_comfy, new_page):
    """`open_panel(frontend)`: a started ComfyUI with that frontend, and a page on it with the panel open."""

    def opened(frontend):
        if reason := missing(frontend):
            pytest.skip(reason)
        own_comfy.extra_arguments = ("--front-end-root", str(FRONTENDS[frontend]))
        own_comfy.start()
        page = new_page(viewport={"width": 1400, "height": 900})
        open_tab(page, own_comfy.url)
        panel = page.get_by_role("region", name="Wizdroid training")
        expect(panel.get_by_role("heading", name="No training yet")).to_be_visible()
        return own_comfy, page, panel

    return opened


def test_a_run_is_started_watched_stopped_resumed_and_kept_through_a_crash_of_comfyui(open_panel):
    comfy, page, panel = open_panel("the host's")
    start_from_the_page(page, panel, steps=50)
    measure_delays(page)
    wait_for_step(comfy, page, 6)
    delays = sorted(page.evaluate("window.delays"))
    assert delays[len(delays) // 2] < 0.5, f"an event line reaches the page after {delays} s"

    panel.get_by_role("button", name="Stop", exact=True).click()
    expect(panel.get_by_role("button", name="Resume")).to_be_visible(timeout=TRAINS_MS)
    stopped = the_run(comfy).state()
    assert stopped.status == "stopped" and the_run(comfy).latest_state()[0] == stopped.step

    panel.get_by_role("button", name="Resume").click()
    wait_for_step(comfy, page, stopped.step + 2)
    assert the_run(comfy).state().resumed_from == stopped.step

    # ComfyUI dies with the page open, and comes back.
    comfy.kill()
    before = the_run(comfy).state().step
    wait_until(lambda: the_run(comfy).state().step > before, "the trainer goes on without ComfyUI")
    comfy.start()
    expect(panel.get_by_role("region", name="Outcome")).to_contain_text(
        "The LoRA is ready.", timeout=TRAINS_MS
    )
    expect(panel.get_by_role("button", name="Try this checkpoint")).to_have_count(
        len(the_run(comfy).state().checkpoints)
    )
    try_the_lora(comfy, page, panel)
    follow_the_menus(comfy, page, panel)


def test_the_newest_frontend_with_nodes_2_starts_a_run_and_uses_its_lora(open_panel):
    comfy, page, panel = open_panel("the newest")
    page.evaluate("window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', true)")
    start_from_the_page(page, panel, steps=8)
    expect(panel.get_by_role("region", name="Outcome")).to_contain_text(
        "The LoRA is ready.", timeout=TRAINS_MS
    )
    try_the_lora(comfy, page, panel)
    follow_the_menus(comfy, page, panel)


def start_from_the_page(page, panel, *, steps):
    """Load a workflow, press Run, and open the run that appears in the panel."""
    put_on_canvas(page, only_training(mode="background", steps=steps))
    page.get_by_role("button", name=re.compile("^Run")).first.click()
    panel.get_by_role("list", name="Runs").get_by_role("button").click(timeout=TRAINS_MS)


def try_the_lora(comfy, page, panel):
    """One click puts the checkpoint into a plain workflow and renders that."""
    put_on_canvas(page, plain_render())
    panel.get_by_role("button", name=re.compile("^Try the")).click()
    wait_until(lambda: rendered(comfy), "the workflow is rendered with the LoRA")
    prompt, status = rendered(comfy)
    nodes = {node["class_type"]: node["inputs"] for node in prompt.values()}
    assert status == "success"
    assert nodes["WizdroidTrainingRun"]["run_name"].endswith(the_run(comfy).run_id)
    assert nodes["WizdroidLoadTrainedLora"]["which"] == "step"
    assert prompt[nodes["KSampler"]["model"][0]]["class_type"] == "WizdroidLoadTrainedLora"


def follow_the_menus(comfy, page, panel):
    """A node's menu leads to its run; the run's numbers go back into a training node; a deleted run is in the trash."""
    name, steps = the_run(comfy).plan().character, the_run(comfy).plan().settings.max_train_steps
    panel.get_by_role("button", name="All runs").click()
    menu_of_node(page, "WizdroidTrainingRun").get_by_text("Show its run").first.click()
    panel.get_by_role("heading", name=name).wait_for()

    panel.get_by_role("button", name="More actions").click()
    panel.get_by_role("menuitem", name="Train again with changes").click()
    dial = "window.app.graph._nodes.find((node) => node.type === 'WizdroidKohyaTrain')?.widgets"
    page.wait_for_function(f"{dial}?.find((each) => each.name === 'steps').value === {steps}")

    run_id = the_run(comfy).run_id
    panel.get_by_role("button", name="More actions").click()
    panel.get_by_role("menuitem", name="Delete run").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(panel.get_by_role("heading", name="No training yet")).to_be_visible()
    assert list((comfy.workspace_dir / "trash").glob(f"*{run_id}*/run/plan.yaml"))


def put_on_canvas(page, prompt):
    """Load a workflow in API form, as if its file had been dropped on the canvas."""
    page.evaluate("(prompt) => window.app.loadApiJson(prompt, 'test')", prompt)


def the_run(comfy):
    (folder,) = Workspace.at(comfy.workspace_dir).run_dirs()
    return RunFolder(folder)


def wait_until(holds, what, timeout_s=TRAINS_S):
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
        time.sleep(0.3)


def wait_for_step(comfy, page, step):
    """Until the panel shows that step. A run that failed is told of at once."""

    def shown():
        state = the_run(comfy).state()
        assert state.status != "failed", f"{state.problem} {state.evidence}\n{the_run(comfy).log_tail()}"
        bar = page.get_by_role("progressbar", name="Training progress")
        text = bar.get_attribute("aria-valuetext") if bar.count() else ""
        found = re.search(r"Training (\d+)/\d+", (text or "").replace("\u202f", ""))
        return found and int(found.group(1)) >= step

    wait_until(shown, f"the panel shows step {step}")


def measure_delays(page):
    """Collect how many seconds after its event line each event reaches the page."""
    page.evaluate(
        """async () => { window.delays = []; const { api } = await import('/scripts/api.js');
        api.addEventListener('wizdroid.training', ({ detail }) => window.delays.push(Date.now() / 1000 - detail.event.time)); }"""
    )


def rendered(comfy):
    """Prompt and status of the finished prompt that saves a picture, or nothing yet."""
    for entry in comfy.client.get("history").values():
        prompt = entry["prompt"][2]
        if entry["outputs"] and any(node["class_type"] == "SaveImage" for node in prompt.values()):
            return prompt, entry["status"]["status_str"]
    return None


def menu_of_node(page, node_type):
    """Open a node's menu with the right mouse button, and in it what is under Wizdroid."""
    place = page.evaluate(
        """(type) => { const { app } = window; const node = app.graph._nodes.find((each) => each.type === type);
        app.canvas.ds.offset[0] = 700 - node.pos[0]; app.canvas.ds.offset[1] = 400 - node.pos[1]; app.canvas.ds.scale = 1;
        app.canvas.draw(true, true);
        const box = app.canvas.canvas.getBoundingClientRect(); return [box.left + 700 + 60, box.top + 400 - 12]; }""",
        node_type,
    )
    page.wait_for_timeout(500)
    page.mouse.click(*place, button="right")
    entry = page.get_by_text("Wizdroid", exact=True).last
    entry.hover()
    entry.click()
    return page
