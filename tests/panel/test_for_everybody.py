"""The panel for everybody: contrast, keyboard, names for screen readers, any width; and data that stays data."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("query", ["", "?dark"])
def test_text_is_readable_against_what_is_behind_it(panel, training, query):
    """WCAG AA: a contrast of 4.5 for text, 3 for large text."""
    page = panel(training, query=query)
    page.wait_for_timeout(300)
    poor = page.evaluate(_CONTRAST)
    assert poor == []


def test_every_control_has_a_name_and_can_be_reached_by_keyboard(panel, training):
    page = panel(training)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('.wz-panel button, .wz-panel select, .wz-panel [tabindex="0"]')]
        .filter((each) => !(each.getAttribute('aria-label') || each.innerText || each.querySelector('img')?.alt))
        .map((each) => each.outerHTML)"""
    )
    assert [each for each in nameless if "hidden" not in each] == []
    reached = set()
    page.get_by_role("button", name="All runs").focus()
    for _ in range(40):
        reached.add(page.evaluate("document.activeElement.textContent || document.activeElement.ariaLabel"))
        page.keyboard.press("Tab")
    for name in ("All runs", "Stop", "Pause", "Log scale", "Smoothed"):
        assert name in reached


@pytest.mark.parametrize("width", [220, 300, 460, 1000])
def test_nothing_is_cut_off_at_any_width_of_the_sidebar(panel, training, width):
    page = panel(training, viewport={"width": width, "height": 900})
    wider = page.evaluate(
        """() => { const panel = document.querySelector('.wz-panel'); return panel.scrollWidth - panel.clientWidth; }"""
    )
    assert wider <= 0


def test_data_never_becomes_markup(panel, stage, training):
    attack = "<img src=x onerror=\"document.title='attacked'\"><b>bold</b>"
    page = panel(training)
    run_id = training.run.run_id
    stage.desk.tell(run_id, "notice", level="error", problem=attack, fix=attack, code=attack)
    stage.desk.tell(run_id, "sample", step=1, file=f"samples/{attack}.png", prompt=attack)
    stage.desk.tell(run_id, "best", step=200, file="x", reason=attack)
    stage.desk.tell(
        run_id, "run_finished", outcome="failed", problem=attack, fix=attack, evidence=attack, code=attack
    )
    expect(page.get_by_role("region", name="Outcome")).to_contain_text("<b>bold</b>")
    expect(page.get_by_role("region", name="Notices")).to_contain_text("<b>bold</b>")
    page.wait_for_timeout(200)
    assert page.title() == "Panel on a bare page"
    assert page.locator(".wz-panel b").count() == 0


_CONTRAST = """() => {
  const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, below) => top.slice(0, 3).map((each, at) => each * top[3] + below[at] * (1 - top[3]));
  const behind = (element) => { const layers = []; for (let at = element; at; at = at.parentElement)
    layers.push(rgba(getComputedStyle(at).backgroundColor)); return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]); };
  const light = (rgb) => { const [r, g, b] = rgb.map((each) => { const c = each / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const poor = [];
  for (const element of document.querySelectorAll('.wz-panel *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest('.wz-sr') || element.disabled || element.tagName === 'OPTION') continue;
    const back = behind(element), style = getComputedStyle(element);
    const [a, b] = [light(over(rgba(style.color), back)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize);
    const enough = size >= 24 || (size >= 18.6 && style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < enough) poor.push(`${element.className || element.tagName} "${element.textContent.slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return poor; }"""
