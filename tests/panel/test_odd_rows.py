"""Rows of a kind that the page does not expect, missing fields, wrong types: the page shows the rest, and says what it can't show."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from playwright.sync_api import expect

from tests.panel.test_widgets import card
from tests.rehearsed_runs import rehearse, rehearsed_plan

pytestmark = pytest.mark.browser
ODD = [None, 7, "x", [], {}, {"step": "x"}, {"level": 7, "problem": {"a": 1}}, {"file": None, "step": []}]
LISTS = ("notices", "checkpoints", "validations", "samples", "states")


@pytest.fixture
def done(workspace):
    plan = rehearsed_plan(max_train_steps=200)
    return rehearse(workspace, plan, now=time.time() - 400).start().train(1, 200).finish("completed")


def answer_with(page, pattern, change):
    """Let the server's answers say something else on their way to the page."""

    def handle(route):
        told = route.fetch().json()
        change(told)
        route.fulfill(json=told)

    page.route(pattern, handle)


def test_odd_rows_of_the_list_of_runs_hide_no_run(panel, workspace, done):
    other = rehearse(workspace, rehearsed_plan(dataset="smith")).start().train(1, 3).finish("stopped")
    page = panel()

    def change(told):
        told["runs"][:0] = [
            *ODD,
            {"run_id": "0123456789ab"},
            {"run_id": 7, "state": {}},
            {"run_id": "b", "state": {}},
        ]
        told["asks"], told["queue"] = ODD, None

    answer_with(page, "**/wizdroid/training/runs", change)
    page.reload()
    page.locator("body[data-connected]").wait_for()
    for story in (done, other):
        expect(page.get_by_role("button", name=story.plan.character).first).to_be_visible()
    # {"run_id": "b", "state": {}} is a run of which nothing is known, and is shown.
    expect(page.get_by_role("note")).to_have_text(
        "Left out, because this page doesn't know what they are: 10 of the runs, 8 of the requests, 1 of the places in the queue. "
        "If the pack was updated, reload the page."
    )


def test_rows_of_a_run_that_the_page_does_not_know_are_counted(panel, done):
    page = panel()

    def change(told):
        told["state"]["notices"][:0] = [None, 7]
        told["state"]["losses"].append("x")
        told["grid_notices"], told["pictures"] = [[]], None
        told["choices"].append({})

    answer_with(page, f"**/wizdroid/training/runs/{done.run.run_id}", change)
    page.get_by_role("button", name=done.plan.character).first.click()
    expect(page.get_by_role("note").filter(has_text="Left out")).to_have_text(
        "Left out, because this page doesn't know what they are: 2 of the notices, 1 of the notices of grids, 1 of the pictures, "
        "1 of the losses, 1 of the choices. If the pack was updated, reload the page."
    )
    page.unroute_all()
    page.reload()
    page.locator("body[data-connected]").wait_for()
    page.get_by_role("button", name=done.plan.character).first.click()
    expect(card(page, "State")).to_contain_text("200 of 200 steps")
    expect(page.get_by_role("note").filter(has_text="Left out")).to_have_count(0)


PARTS = (*LISTS, "suggestions", "grid_notices", "pictures", "damages", "choices", "changes", "line")


def test_an_odd_part_of_a_run_hides_none_of_the_others(panel, done):
    """Each list and part of a run's answer, as rows that nobody knows, as null, and as what is no list at all."""
    page, odd = panel(), {}

    def change(told):
        place = told["state"] if odd["name"] in LISTS else told
        is_list = isinstance(place[odd["name"]], list)
        place[odd["name"]] = (
            [*odd["value"], *place[odd["name"]]] if odd["value"] is ODD and is_list else odd["value"]
        )

    answer_with(page, f"**/wizdroid/training/runs/{done.run.run_id}", change)
    said_by_page = []
    page.on("console", lambda message: said_by_page.append(message.text[:300]))
    page.on("pageerror", lambda error: said_by_page.append(str(error)[:600]))
    for name, value in itertools.product(PARTS, (ODD, None, 7, "x", {})):
        odd.update(name=name, value=value)
        page.reload()
        page.locator("body[data-connected]").wait_for()
        page.get_by_role("button", name=done.plan.character).first.click()
        page.get_by_role("heading", name=done.plan.character).wait_for()
        shown = f"{name} = {value} {said_by_page[-6:]}"
        expect(card(page, "State"), shown).to_contain_text("200 of 200 steps", timeout=5000)
        expect(card(page, "Loss chart"), shown).to_be_visible(timeout=5000)
        expect(page.get_by_role("note").filter(has_text="Can't be shown"), shown).to_have_count(0)
        left_out = page.get_by_role("note").filter(has_text="Left out")
        expect(left_out, shown).to_have_count(0 if name in ("changes", "line") else 1)


def test_live_events_of_unknown_kinds_and_wrong_types_leave_the_page_as_it_was(panel, stage, workspace):
    story = (
        rehearse(workspace, rehearsed_plan(max_train_steps=400), now=time.time() - 200).start().train(1, 40)
    )
    page = panel(story)
    odd = [
        None,
        7,
        {},
        {"kind": 3, "seq": 900},
        {"kind": "of_later", "seq": 901, "time": 1},
        {"kind": "state", "seq": 902, "removed": 5},
    ]
    for event in odd:
        stage.push("wizdroid.training", {"run_id": story.run.run_id, "slug": story.run.slug, "event": event})
    stage.desk.tell(story.run.run_id, "notice", level="warning", problem="Still heard.", fix="", code="x")
    expect(card(page, "Notices")).to_contain_text("Still heard.")


def test_lines_that_could_not_be_read_are_said_at_the_run_and_in_the_list(panel, done):
    lines = done.run.events_file.read_text("utf-8").splitlines()
    lines[20] = lines[20].replace('"step":', '"stop":')
    lines[30] = "{"
    done.run.events_file.write_text("\n".join(lines) + "\n", "utf-8")
    page = panel()
    expect(page.get_by_role("button", name=done.plan.character).first).to_contain_text(
        "some events can't be read"
    )
    page.get_by_role("button", name=done.plan.character).first.click()
    said = page.get_by_label("Damaged files")
    expect(said).to_contain_text(
        "2 lines of events.jsonl can't be taken as they stand. The first is line 21: it has no `step`."
    )
    expect(said).to_contain_text("All other lines count")
    expect(said.get_by_role("button")).to_have_count(0)
    expect(card(page, "State")).to_contain_text("200 of 200 steps")
    assert json.loads(lines[40])
