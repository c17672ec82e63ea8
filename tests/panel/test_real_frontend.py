"""The panel inside the real ComfyUI frontend, the oldest supported one and the newest, by role and accessible name."""

import re
import time

import pytest
from playwright.sync_api import expect

from tests.panel.frontends import FRONTENDS, missing, open_tab
from tests.panel.stage import Stage
from tests.rehearsed_runs import rehearse, rehearsed_plan

pytestmark = pytest.mark.browser


@pytest.fixture(params=FRONTENDS)
def frontend_dir(request):
    if reason := missing(request.param):
        pytest.skip(reason)
    return FRONTENDS[request.param]


@pytest.fixture
def stage(workspace, frontend_dir):
    with Stage(workspace.root, frontend_dir=frontend_dir) as opened:
        yield opened


def test_a_run_is_watched_stopped_and_told_of_in_comfyui_itself(stage, workspace, new_page):
    story = (
        rehearse(workspace, rehearsed_plan(max_train_steps=400), now=time.time() - 300).start().train(1, 220)
    )
    run_id = story.run.run_id
    page = new_page(viewport={"width": 1280, "height": 800})
    tab = open_tab(page, stage.url)
    panel = page.get_by_role("region", name="Wizdroid training")
    expect(tab).to_contain_text("1")  # the badge

    panel.get_by_role("button", name="herbalist").click()
    panel.get_by_role("heading", name="herbalist").wait_for()
    bar = panel.get_by_role("progressbar", name="Training progress")
    expect(bar).to_have_attribute("aria-valuetext", "Training 220/400")
    stage.desk.tell(run_id, "progress", step=221, total=400, loss=0.1, loss_ema=0.1)
    expect(bar).to_have_attribute("aria-valuetext", "Training 221/400")

    panel.get_by_role("button", name="Stop", exact=True).click()
    expect(panel.get_by_role("button", name="Resume")).to_be_visible()
    assert stage.desk.asked == [("stop", run_id, False)]
    expect(page.get_by_text("Training herbalist stopped", exact=True)).to_be_visible()  # the toast
    expect(tab).not_to_contain_text("1")


def test_the_panel_is_drawn_in_the_colours_of_the_theme(stage, workspace, new_page):
    rehearse(workspace, rehearsed_plan(max_train_steps=400)).start().train(1, 20)
    page = new_page(viewport={"width": 1280, "height": 800})
    open_tab(page, stage.url)
    panel = page.get_by_role("region", name="Wizdroid training")
    expect(panel).to_have_class(re.compile("wz-dark"))
    page.evaluate("window.app.extensionManager.setting.set('Comfy.ColorPalette', 'light')")
    expect(panel).not_to_have_class(re.compile("wz-dark"))


def test_the_palette_has_a_command_for_every_verb_and_the_settings_a_page(stage, workspace, new_page):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=400)).start().train(1, 20)
    page = new_page(viewport={"width": 1280, "height": 800})
    open_tab(page, stage.url)
    ids = page.evaluate("window.app.extensionManager.command.commands.map((each) => each.id)")
    for verb in (
        "Open",
        "stop",
        "pause",
        "resume",
        "checkpoint",
        "sample",
        "try",
        "package",
        "again",
        "folder",
        "delete",
    ):
        assert f"Wizdroid.Training.{verb}" in ids
    assert page.evaluate("window.app.extensionManager.setting.get('Wizdroid.Training.Toasts')") is True
    page.evaluate("window.app.extensionManager.command.execute('Wizdroid.Training.pause')")
    stage.desk.is_asked(("pause", story.run.run_id))


def test_a_closed_tab_costs_nothing_and_a_reload_shows_the_same(stage, workspace, new_page):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=400)).start().train(1, 220)
    page = new_page(viewport={"width": 1280, "height": 800})
    tab = open_tab(page, stage.url)
    page.get_by_role("button", name="herbalist").click()
    page.get_by_role("progressbar", name="Training progress").wait_for()
    tab.click()  # closes it
    expect(page.get_by_role("region", name="Wizdroid training")).to_have_count(0)
    before = [path for _, path in stage.requests if "wizdroid/training" in path]
    stage.desk.tell(story.run.run_id, "progress", step=221, total=400, loss=0.1, loss_ema=0.1)
    page.wait_for_timeout(700)
    assert [path for _, path in stage.requests if "wizdroid/training" in path] == before
    page.reload()
    open_tab(page, stage.url)
    page.get_by_role("button", name="herbalist").click()
    bar = page.get_by_role("progressbar", name="Training progress")
    expect(bar).to_have_attribute("aria-valuetext", "Training 221/400")
