"""What a person sees of folders that came from elsewhere or were damaged, and what the buttons beside them do."""

from __future__ import annotations

import json
import os
import time

import pytest
from playwright.sync_api import expect

from kohya_bridge.runs import held_prompt
from kohya_bridge.runs.damage import damages_of
from tests.panel.test_for_everybody import _CONTRAST
from tests.panel.test_widgets import card
from tests.rehearsed_runs import rehearse, rehearsed_plan
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

DECISION = "Needs your decision"
PROMPT = {
    "7": {"class_type": "KSampler", "inputs": {"seed": 3}},
    "8": {"class_type": "SaveImage", "inputs": {"filename_prefix": "from-elsewhere"}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "<b>bold</b>"}},
}


def came_along(run, prompt=PROMPT):
    """A held prompt as the folder of somebody else brings it: without a signature of this machine."""
    run.held_prompts_dir.mkdir(exist_ok=True)
    file = run.held_prompts_dir / f"{held_prompt.digest_of(prompt)}.json"
    file.write_text(json.dumps({"prompt": prompt, "client_id": None, "extra_pnginfo": None}))
    return file


def grids_came_along(run):
    prompt = {"4": {"class_type": "WizdroidLoraValidateGrid", "inputs": {"run": ["1", 0]}}}
    run.unattended_file.write_text(json.dumps({"prompt": prompt, "grids": ["4"], "over": {}}))


@pytest.fixture
def done(workspace):
    plan = rehearsed_plan(max_train_steps=200)
    return rehearse(workspace, plan, now=time.time() - 400).start().train(1, 200).finish("completed")


@pytest.fixture
def cut(workspace):
    """A run whose plan a full disk has cut."""
    story = rehearse(workspace, rehearsed_plan(dataset="smith")).start().train(1, 3).finish("stopped")
    story.run.plan_file.write_text(story.run.plan_file.read_text()[:90])
    return story


# --- what came along -------------------------------------------------------------------------------------------------


def test_a_prompt_that_came_along_is_shown_whole_and_allowed(panel, done):
    file = came_along(done.run)
    page = panel()
    ask = card(page, DECISION)
    expect(ask).to_contain_text("A prompt would be queued at once.")
    expect(ask).to_contain_text("SaveImage (2), KSampler")
    assert "from-elsewhere" not in ask.inner_text()
    ask.get_by_text("Look at the whole prompt").click()
    expect(ask.get_by_label("The whole prompt")).to_contain_text('"filename_prefix": "from-elsewhere"')
    expect(ask.get_by_label("The whole prompt")).to_contain_text("<b>bold</b>")
    assert held_prompt.claim(done.run) == []  # nothing before the word
    page.get_by_role("button", name=f"Allow what came along with herbalist {done.run.run_id}").click()
    expect(ask).to_be_hidden()
    assert "queued once the run has completed" in page.evaluate("stage.record.told[0]")
    assert held_prompt.read_held(done.run, file)[1]
    assert [each.prompt for each in held_prompt.claim(done.run)] == [PROMPT]


def test_a_prompt_that_is_discarded_stays_in_the_folder_and_is_never_sent(panel, stage, done):
    file = came_along(done.run)
    page = panel()
    page.get_by_role("button", name="Discard what came along with").click()
    expect(card(page, DECISION)).to_be_hidden()
    assert not file.exists() and file.with_suffix(".declined").is_file()
    assert held_prompt.claim(done.run) == []
    assert "Discarded" in page.evaluate("stage.record.told[0]")
    page.reload()
    page.get_by_role("list", name="Runs").wait_for()
    expect(card(page, DECISION)).to_be_hidden()


def test_several_are_answered_by_keyboard_one_after_the_other(panel, done):
    files = [came_along(done.run, {str(number): PROMPT["8"]}) for number in range(3)]
    page = panel()
    buttons = page.get_by_role("button", name="Allow what came along with")
    expect(buttons).to_have_count(3)
    buttons.first.focus()
    for left in (2, 1):
        page.keyboard.press("Enter")
        expect(buttons).to_have_count(left)
        expect(buttons.first).to_be_focused()
    assert sum(held_prompt.read_held(done.run, file)[1] for file in files) == 2


def test_a_runs_own_view_asks_too_and_says_when_it_would_happen(panel, workspace):
    story = (
        rehearse(workspace, rehearsed_plan(max_train_steps=400), now=time.time() - 90).start().train(1, 120)
    )
    came_along(story.run)
    grids_came_along(story.run)
    page = panel(story)
    ask = card(page.locator(".wz-panel > .wz-stack:not([hidden])"), DECISION)
    expect(ask.get_by_role("listitem")).to_have_count(2)
    expect(ask).to_contain_text("when the run has completed")
    expect(ask).to_contain_text("for each checkpoint of the run that has no grid yet")
    ask.get_by_role("listitem").filter(has_text="each checkpoint").get_by_role(
        "button", name="Discard"
    ).click()
    expect(ask.get_by_role("listitem")).to_have_count(1)
    assert (story.run.dir / "unattended.json.declined").is_file()


def test_an_answer_that_somebody_else_gave_already_is_told_and_the_list_is_right(panel, done):
    file = came_along(done.run)
    page = panel()
    allow = page.get_by_role("button", name="Allow what came along with")
    allow.wait_for()
    file.unlink()
    allow.click()
    page.wait_for_function("stage.record.toasts.length === 1")
    assert "answer" in page.evaluate("stage.record.toasts[0].summary")
    expect(card(page, DECISION)).to_be_hidden()


# --- set aside -------------------------------------------------------------------------------------------------------


def test_a_run_without_a_readable_plan_is_set_aside_found_by_the_filter_and_deleted(panel, stage, done, cut):
    page = panel()
    runs = page.get_by_role("list", name="Runs").get_by_role("listitem")
    expect(runs).to_have_count(2)
    page.get_by_label("Filter by state").select_option("Set aside")
    expect(runs).to_have_count(1)
    expect(runs).to_contain_text("Set aside:")
    runs.get_by_role("button").click()
    damaged = card(page, "Damaged files")
    expect(damaged).to_contain_text("Without its plan it can only be looked at and deleted.")
    expect(page.locator("header").get_by_text("Set aside", exact=True)).to_be_visible()
    expect(page.get_by_role("group", name="Steer this run")).to_be_hidden()
    expect(damaged.get_by_role("button", name="Mend")).to_be_hidden()
    damaged.get_by_role("button", name="Delete run").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    stage.desk.is_asked(("delete", cut.run.run_id))
    expect(runs).to_have_count(0)
    page.get_by_label("Filter by state").select_option("All states")
    expect(runs).to_have_count(1)


DAMAGES = {
    "a cut run.json": lambda run: (run.dir / "run.json").write_text('{"pid": 1, '),
    "a folder in place of the log": lambda run: (run.log_file.unlink(), run.log_file.mkdir()),
    "a pipe in place of the events": lambda run: (run.events_file.unlink(), os.mkfifo(run.events_file)),
    "a held prompt that is none": lambda run: came_along(run, {"1": {"no": "node"}}),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_mended_by_one_click_and_the_rest_of_the_run_stays(panel, stage, done, damage):
    DAMAGES[damage](done.run)
    stage.desk.slot.open_attempts()  # as the watcher does
    page = panel(done)
    damaged = card(page, "Damaged files")
    expect(damaged.get_by_role("listitem")).to_have_count(1)
    damaged.get_by_role("button", name="Mend").click()
    expect(damaged).to_be_hidden()
    assert "Moved below damaged/" in page.evaluate("stage.record.told[0]")
    assert len(list((done.run.dir / "damaged").iterdir())) == 1
    assert damages_of(done.run) == []
    page.get_by_role("button", name="All runs").click()
    expect(page.get_by_role("list", name="Runs")).not_to_contain_text("Set aside")


def test_a_plan_that_is_there_again_ends_the_setting_aside(panel, stage, cut):
    page = panel()
    expect(page.get_by_role("list", name="Runs")).to_contain_text("Set aside")
    cut.run.plan_file.write_text(cut.plan.to_yaml())
    page.reload()
    runs = page.get_by_role("list", name="Runs")
    expect(runs).to_contain_text("Stopped at 3")
    expect(runs).not_to_contain_text("Set aside")


def test_a_plan_that_is_a_link_to_nothing_is_opened_and_deleted_as_well(panel, stage, cut):
    cut.run.plan_file.unlink()
    cut.run.plan_file.symlink_to("nowhere")
    page = panel()
    page.get_by_role("list", name="Runs").get_by_role("button").click()
    card(page, "Damaged files").get_by_role("button", name="Delete run").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    wait_until(lambda: not cut.run.dir.exists())


# --- for everybody ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?dark"])
def test_text_about_received_runs_is_readable_and_fits(panel, done, cut, query):
    came_along(done.run)
    (done.run.dir / "run.json").write_text("{")
    page = panel(query=query, viewport={"width": 260, "height": 900})
    card(page, DECISION).wait_for()
    assert page.evaluate(_CONTRAST) == []
    assert _sticks_out(page) <= 0
    page.get_by_role("list", name="Runs").get_by_role("button", name="herbalist").click()
    card(page, "Damaged files").wait_for()
    assert page.evaluate(_CONTRAST) == []
    assert _sticks_out(page) <= 0


def test_names_of_a_received_run_never_become_markup(panel, done):
    attack = "<img src=x onerror=\"document.title='attacked'\"><b>bold</b>"
    came_along(done.run, {attack: {"class_type": attack, "inputs": {attack: attack}}})
    page = panel()
    ask = card(page, DECISION)
    ask.get_by_text("Look at the whole prompt").click()
    expect(ask.get_by_label("The whole prompt")).to_contain_text("<b>bold</b>")
    assert page.title() == "Panel on a bare page" and page.locator(".wz-panel b").count() == 0


def _sticks_out(page) -> int:
    return page.evaluate(
        "(() => { const panel = document.querySelector('.wz-panel'); return panel.scrollWidth - panel.clientWidth; })()"
    )
