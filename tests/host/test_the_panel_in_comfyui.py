"""The panel in the real ComfyUI, in its own frontend and in the newest: every verb on a real run, by role and name.

One run goes through both, because two whole lives of a ComfyUI and a trainer are what costs time here.
"""

import re
import time

import pytest
from playwright.sync_api import expect

from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import Workspace
from tests.host.canvas import only_training, plain_render, whole_job
from tests.panel.frontends import FRONTENDS, missing, open_tab

pytestmark = [pytest.mark.host, pytest.mark.browser]

TRAINS_S = 120
TRAINS_MS = 1000 * TRAINS_S


@pytest.fixture
def start_comfy(own_comfy):
    """`start_comfy(frontend)`: the ComfyUI of this test, started with that frontend."""
    if reason := missing("the newest"):
        pytest.skip(reason)

    def started(frontend):
        own_comfy.extra_arguments = ("--front-end-root", str(FRONTENDS[frontend]))
        return own_comfy.start()

    return started


def test_a_run_is_started_watched_stopped_tried_resumed_and_kept_through_a_crash_of_comfyui(
    start_comfy, new_page
):
    comfy = start_comfy("the host's")
    page, panel = open_panel(comfy, new_page)
    expect(panel.get_by_role("heading", name="No training yet")).to_be_visible()

    start_from_the_page(page, panel, steps=60, mode="wait")
    measure_delays(page)
    wait_for_step(comfy, page, 4)
    panel.get_by_role("button", name="Stop", exact=True).click()
    expect(panel.get_by_role("button", name="Resume")).to_be_visible(timeout=TRAINS_MS)
    stopped = the_run(comfy).state()
    assert stopped.status == "stopped" and the_run(comfy).latest_state()[0] == stopped.step
    wait_until(lambda: not comfy.client.get("queue")["queue_running"], "the node that waited has ended")
    assert page.evaluate("window.app.lastExecutionError ?? null") is None
    expect(page.get_by_role("dialog")).to_have_count(0)
    delays = sorted(page.evaluate("window.delays"))
    print(
        f"\nevent lines drawn after {delays[len(delays) // 2]:.2f} s (median of {len(delays)}), {delays[-1]:.2f} s at most"
    )
    # Told, not asked for now and then; under half a second where nothing else runs (docs/measurements.md).
    assert delays[len(delays) // 2] < 5, f"an event line is drawn after {delays} s"

    try_the_lora(comfy, page, panel, plain_render())
    panel.get_by_role("button", name="Resume").click()
    wait_for_step(comfy, page, stopped.step + 2)
    assert the_run(comfy).state().resumed_from == stopped.step

    # ComfyUI dies with the page open, and comes back with a newer frontend.
    comfy.kill()
    before = the_run(comfy).state().step
    wait_until(lambda: the_run(comfy).state().step > before, "the trainer goes on without ComfyUI")
    start_comfy("the newest")
    expect(panel.get_by_role("region", name="Outcome")).to_contain_text(
        "The LoRA is ready.", timeout=TRAINS_MS
    )
    expect(panel.get_by_role("button", name="Try this checkpoint")).to_have_count(
        len(the_run(comfy).state().checkpoints)
    )
    page.close()
    use_in_the_newest_frontend(comfy, new_page)


def use_in_the_newest_frontend(comfy, new_page):
    """A second browser, with Nodes 2.0: the same run, its LoRA, a node's menu, and another run from this page."""
    page, panel = open_panel(comfy, new_page)
    page.evaluate("window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', true)")
    open_newest_run(panel)
    expect(panel.get_by_role("region", name="Outcome")).to_contain_text("The LoRA is ready.")
    try_the_lora(comfy, page, panel, whole_job(steps=61))  # queueing all of it would train anew
    follow_the_menus(comfy, page, panel)
    start_from_the_page(page, panel, steps=30)
    panel.get_by_role("button", name="More actions").click()
    panel.get_by_role("menuitem", name="Stop at once").click()
    expect(panel.get_by_role("region", name="Outcome")).to_contain_text("topped", timeout=TRAINS_MS)
    assert the_run(comfy).state().status == "stopped"


def open_panel(comfy, new_page):
    page = new_page(viewport={"width": 1400, "height": 900})
    open_tab(page, comfy.url)
    return page, page.get_by_role("region", name="Wizdroid training")


def start_from_the_page(page, panel, *, steps, mode="background"):
    """Load a workflow, press Run, and open the run that appears in the panel."""
    put_on_canvas(page, only_training(mode=mode, steps=steps))
    page.get_by_role("button", name=re.compile("^Run")).first.click()
    open_newest_run(panel)


def open_newest_run(panel):
    panel.get_by_role("list", name="Runs").get_by_role("button").click(timeout=TRAINS_MS)


def try_the_lora(comfy, page, panel, canvas):
    """One click puts the checkpoint into a workflow and renders that alone; the picture stands beside its checkpoint."""
    already = len(rendered(comfy))
    put_on_canvas(page, canvas)
    panel.get_by_role("button", name=re.compile("^Try the")).click()
    wait_until(lambda: len(rendered(comfy)) > already, "the workflow is rendered with the LoRA")
    prompt, status, outputs = rendered(comfy)[-1]
    nodes = {node["class_type"]: node["inputs"] for node in prompt.values()}
    assert status == "success"
    assert nodes["WizdroidTrainingRun"]["run_name"].endswith(the_run(comfy).run_id)
    loader = nodes["WizdroidLoadTrainedLora"]
    assert (loader["package"], loader["which"]) == ("(the run's checkpoint)", "step")
    assert [prompt[each]["class_type"] for each in outputs] == ["SaveImage"]
    expect(panel.get_by_alt_text(f"Step {loader['step']} as tried")).to_be_visible()
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
    """Collect how many seconds after its event line each step is drawn: `window.delays`."""
    page.evaluate(
        """async () => {
          window.delays = [];
          const { api } = await import('/scripts/api.js');
          const drawn = (step) => parseInt(document.querySelector('[aria-label="Training progress"]')
            ?.getAttribute('aria-valuetext').split(' ')[1]) >= step;
          api.addEventListener('wizdroid.training', ({ detail: { event } }) => {
            const look = () => drawn(event.step)
              ? window.delays.push(Date.now() / 1000 - event.time) : requestAnimationFrame(look);
            if (event.kind === 'progress') look();
          });
        }"""
    )


def rendered(comfy):
    """Prompt, status and outputs to run of each finished prompt that saved a picture."""
    finished = [entry for entry in comfy.client.get("history").values() if entry["outputs"]]
    return [
        (entry["prompt"][2], entry["status"]["status_str"], entry["prompt"][4])
        for entry in finished
        if any(entry["prompt"][2][each]["class_type"] == "SaveImage" for each in entry["prompt"][4])
    ]


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
