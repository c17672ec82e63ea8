"""The loss chart on a bare page: read, zoomed, switched, and fetched in finer steps."""

import re

import pytest
from playwright.sync_api import expect

from tests.rehearsed_runs import rehearse, rehearsed_plan

pytestmark = pytest.mark.browser


def pixels(page):
    """How many pixels of the chart are drawn."""
    return page.evaluate(
        """() => { const canvas = document.querySelector('.wz-plot-base');
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let drawn = 0; for (let at = 3; at < data.length; at += 4) drawn += data[at] > 0; return drawn; }"""
    )


def test_the_chart_reads_values_under_the_pointer_and_by_keyboard(panel, training):
    page = panel(training)
    chart = page.get_by_role("figure", name=re.compile("Loss over 220 steps"))
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    reading = page.get_by_role("region", name="Loss chart").get_by_role("status")
    expect(reading).to_contain_text(re.compile(r"Step \d+ .*loss 0\.\d+ .*smoothed 0\.\d+"))
    chart.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(reading).to_contain_text("Step")


def test_the_chart_zooms_by_drag_and_shows_all_again(panel, training):
    page = panel(training)
    chart = page.get_by_role("figure", name=re.compile("Loss over"))
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 120, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 240, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(page.get_by_role("button", name="Show all")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("button", name="Show all")).to_be_hidden()
    chart.focus()
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="Show all")).to_be_visible()
    page.keyboard.press("0")
    expect(page.get_by_role("button", name="Show all")).to_be_hidden()


def test_curves_are_switched_on_and_off_and_drawn_on_a_log_scale(panel, training):
    page = panel(training)
    chart = page.get_by_role("region", name="Loss chart")
    before = pixels(page)
    chart.get_by_role("button", name="Loss", exact=True).click()
    expect(chart.get_by_role("button", name="Loss", exact=True)).to_have_attribute("aria-pressed", "false")
    assert pixels(page) < before * 0.9
    chart.get_by_role("button", name="Learning rate").click()
    chart.get_by_role("button", name="Log scale").click()
    expect(chart.get_by_role("button", name="Log scale")).to_have_attribute("aria-pressed", "true")
    assert pixels(page) > 500


def test_a_zoom_into_a_thinned_run_fetches_the_rows_in_between(panel, workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=100_000)).start().many_steps(100_000)
    page = panel(story)
    page.get_by_role("figure", name=re.compile("Loss over 100.000 steps")).focus()
    for _ in range(6):
        page.keyboard.press("+")
    page.wait_for_function("stage.record.requests.some(([, path]) => path.includes('/losses?from='))")
