"""The panel on a bare page: what a person sees and does, by role and accessible name."""

import re
import time

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.panel.stage import Stage
from tests.rehearsed_runs import rehearse, rehearsed_plan

pytestmark = pytest.mark.browser


@pytest.fixture
def stage(workspace):
    with Stage(workspace.root) as opened:
        yield opened


@pytest.fixture
def panel(stage, new_page):
    """Opens the panel, optionally with a run: `panel(story)`."""

    def opened(story=None, *, query="", **options):
        page = new_page(**options)
        page.goto(f"{stage.url}/bare/{query}")
        page.locator("body[data-connected]").wait_for()
        if story is not None:
            page.get_by_role("button", name=story.plan.character).first.click()
            page.get_by_role("heading", name=story.plan.character).wait_for()
        return page

    return opened


@pytest.fixture
def training(workspace):
    return (
        rehearse(workspace, rehearsed_plan(max_train_steps=400), now=time.time() - 200).start().train(1, 220)
    )


def card(page, name):
    return page.get_by_role("region", name=name, exact=True)


# --- the list --------------------------------------------------------------------------------------------------------


def test_an_empty_workspace_says_what_to_do_first(panel):
    page = panel()
    expect(page.get_by_role("heading", name="No training yet")).to_be_visible()
    expect(page.get_by_role("region", name="How to begin").get_by_role("listitem")).to_have_count(3)
    page.get_by_role("button", name="Add a Kohya Train node").click()
    assert page.evaluate("stage.record.told") == ["added"]


def test_runs_are_filtered_by_dataset_and_state(panel, workspace, training):
    rehearse(workspace, rehearsed_plan(dataset="smith")).start().train(1, 3).finish("failed", problem="x")
    rehearse(workspace, rehearsed_plan(dataset="smith", seed=2)).start().train(1, 3).finish("stopped")
    page = panel()
    runs = page.get_by_role("list", name="Runs").get_by_role("listitem")
    expect(runs).to_have_count(3)
    page.get_by_label("Filter by dataset").select_option("smith")
    expect(runs).to_have_count(2)
    page.get_by_label("Filter by state").select_option("Failed")
    expect(runs).to_have_count(1)
    expect(runs).to_contain_text("Failed at step 3")
    page.get_by_label("Filter by state").select_option("Done")
    expect(page.get_by_text("No run fits this filter.")).to_be_visible()


def test_the_queue_is_put_in_another_order_by_keyboard(panel, stage, workspace):
    stories = [rehearse(workspace, rehearsed_plan(dataset=name)) for name in ("smith", "dancer")]
    stage.desk.line = [story.run.run_id for story in stories]
    page = panel()
    queue = card(page, "Queue").get_by_role("listitem")
    expect(queue).to_have_text(["smith", "dancer"])
    page.get_by_role("button", name="Move dancer up").focus()
    page.keyboard.press("Enter")
    expect(queue).to_have_text(["dancer", "smith"])
    expect(page.get_by_role("button", name="Move dancer up")).to_be_disabled()


def test_a_new_run_appears_in_the_list_by_itself(panel, stage, workspace):
    page = panel()
    story = rehearse(workspace, rehearsed_plan())
    stage.desk.tell(story.run.run_id, "queued", position=1)
    expect(page.get_by_role("list", name="Runs")).to_contain_text("Queued, 1st in line")


# --- one run ---------------------------------------------------------------------------------------------------------


def test_a_run_is_followed_live_within_half_a_second(panel, stage, training):
    page = panel(training)
    bar = page.get_by_role("progressbar", name="Training progress")
    expect(bar).to_have_attribute("aria-valuetext", "Training 220/400")
    started = time.monotonic()
    stage.desk.tell(
        training.run.run_id, "progress", step=221, total=400, epoch=9, loss=0.1, loss_ema=0.1, eta_s=90
    )
    expect(bar).to_have_attribute("aria-valuetext", "Training 221/400", timeout=2_000)
    assert time.monotonic() - started < 0.5
    expect(card(page, "State")).to_contain_text("1 min 30 s")


def test_stopping_waits_for_what_the_trainer_says(panel, stage, training):
    page = panel(training)
    stage.desk.stop = lambda run_id, at_once: stage.desk.asked.append(("stop", run_id, at_once))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stopping")).to_be_visible()
    assert stage.desk.asked == [("stop", training.run.run_id, False)]
    stage.desk.tell(
        training.run.run_id, "run_finished", outcome="stopped", step=220, problem="Stopped.", fix="Resume."
    )
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(card(page, "Outcome")).to_contain_text("Stopped.")


@pytest.mark.parametrize("by", ["pointer", "keyboard"])
def test_holding_stop_stops_at_once(panel, stage, training, by):
    page = panel(training)
    stop = page.get_by_role("button", name="Stop", exact=True)
    if by == "pointer":
        stop.hover()
        page.mouse.down()
        expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=5_000)
        page.mouse.up()
    else:
        stop.focus()
        page.keyboard.down("Enter")
        expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=5_000)
        page.keyboard.up("Enter")
    assert stage.desk.asked == [("stop", training.run.run_id, True)]


def test_a_screen_reader_click_on_stop_is_a_soft_stop(panel, stage, training):
    page = panel(training)
    page.get_by_role("button", name="Stop", exact=True).evaluate("button => button.click()")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert stage.desk.asked == [("stop", training.run.run_id, False)]


def test_pause_and_continue_follow_the_trainer(panel, stage, training):
    page = panel(training)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert [call[0] for call in stage.desk.asked] == ["pause", "unpause"]


def test_checkpoint_and_sample_on_request_appear_when_they_are_there(panel, stage, training):
    page = panel(training)
    page.get_by_role("button", name="Save now").click()
    expect(page.get_by_role("button", name="Save now")).to_have_attribute("aria-busy", "true")
    stage.desk.tell(
        training.run.run_id, "checkpoint", step=222, file="checkpoints/a.safetensors", bytes=19_000_000
    )
    expect(page.get_by_role("button", name="Try this checkpoint, step 222")).to_be_visible()
    expect(page.get_by_role("button", name="Save now")).to_have_attribute("aria-busy", "false")
    Image.new("RGB", (64, 64), "navy").save(training.run.samples_dir / "now.png")
    page.get_by_role("button", name="Sample now").click()
    stage.desk.tell(training.run.run_id, "sample", step=222, file="samples/now.png", prompt="a herbalist")
    newest = page.get_by_role("list", name="Pictures, newest first").get_by_role("img").first
    expect(newest).to_have_attribute("alt", "Sample at step 222: a herbalist")
    page.wait_for_function(
        "image => image.complete && image.naturalWidth === 64", arg=newest.element_handle()
    )


def test_a_failure_is_told_with_its_fix_and_retried_with_safer_numbers(panel, stage, workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=300)).start().train(1, 110)
    story.finish(
        "failed", problem="Memory ran out.", fix="Use less memory.", code="out_of_memory", evidence="OOM"
    )
    page = panel(story)
    outcome = card(page, "Outcome")
    expect(outcome).to_contain_text("Memory ran out.")
    expect(outcome).to_contain_text("Use less memory.")
    expect(outcome).to_contain_text("train_batch_size 1")
    outcome.get_by_text("What the trainer said").click()
    expect(outcome.get_by_text("OOM", exact=True)).to_be_visible()
    page.get_by_role("button", name="Retry with less memory").click()
    page.wait_for_function("stage.record.requests.some(([, path]) => path.endsWith('/retry'))")
    page.wait_for_timeout(200)
    assert [call[0] for call in stage.desk.asked] == ["submit"]


def test_a_run_that_fails_while_it_is_watched_offers_its_suggestions(panel, stage, training):
    page = panel(training)
    words = {"problem": "Memory ran out.", "fix": "Use less.", "code": "out_of_memory"}
    stage.desk.tell(training.run.run_id, "run_finished", outcome="failed", step=220, **words)
    expect(page.get_by_role("button", name="Retry with less memory")).to_be_visible()
    card(page, "Outcome").get_by_text("Other ways").click()
    page.get_by_role("button", name="Retry: lower the resolution").click()
    page.wait_for_function("stage.record.requests.some(([, path]) => path.endsWith('/retry'))")
    page.wait_for_timeout(200)
    kind, settings = stage.desk.asked[-1]
    assert kind == "submit" and settings["resolution"] == 384 and settings["train_batch_size"] == 2


def test_the_best_checkpoint_is_marked_with_its_reason_and_tried_by_one_click(panel, training):
    page = panel(training)
    table = card(page, "Checkpoints")
    expect(table).to_contain_text("Best is step 200: Lowest held-out loss so far")
    expect(table.get_by_role("row", name="200 best")).to_be_visible()
    page.get_by_role("button", name="Try this checkpoint, step 100").click()
    page.wait_for_function("stage.record.tried.length === 1")
    tried = page.evaluate("stage.record.tried[0]")
    assert (tried["slug"], tried["step"]) == ("herbalist", 100)


def test_pictures_are_enlarged_and_paged_by_keyboard(panel, training):
    page = panel(training)
    page.get_by_role("button", name="Sample at step 200").click()
    dialog = page.get_by_role("dialog", name="Picture")
    expect(dialog).to_contain_text("1 of 2")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("Sample at step 100")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_the_same_notice_is_shown_once_with_how_often_it_came(panel, stage, training):
    page = panel(training)
    for _ in range(3):
        stage.desk.tell(
            training.run.run_id,
            "notice",
            level="warning",
            problem="Disk is nearly full.",
            fix="Free 5 GB.",
            code="disk",
        )
    notice = card(page, "Notices").get_by_role("listitem")
    expect(notice).to_have_count(1)
    expect(notice).to_contain_text("Warning: Disk is nearly full. 3 times")
    expect(notice).to_contain_text("Free 5 GB.")


def test_the_plan_shows_its_numbers_and_what_changed(panel, workspace, training):
    changed = rehearse(workspace, rehearsed_plan(max_train_steps=400, unet_lr=3e-4, seed=9)).start()
    page = panel()
    page.get_by_role("list", name="Runs").get_by_role("button").first.click()
    plan = card(page, "Plan")
    expect(plan).to_contain_text(f"Changed since run {training.run.run_id}")
    expect(plan.get_by_role("listitem").filter(has_text="unet_lr")).to_contain_text("3e-4")
    plan.get_by_text("All numbers").click()
    expect(plan.get_by_role("row", name="seed 9")).to_be_visible()
    assert changed.run.run_id != training.run.run_id


def test_the_log_is_fetched_only_when_it_is_unfolded(panel, stage, training):
    page = panel(training)
    assert not any(path.endswith("/log") for _, path in stage.requests)
    card(page, "Log of the trainer").get_by_role("heading", name="Log").click()
    expect(page.get_by_label("Log", exact=True)).to_contain_text("steps: 100%")


def test_deleting_asks_and_then_leaves_the_list(panel, stage, workspace):
    story = rehearse(workspace, rehearsed_plan()).start().train(1, 5).finish("stopped")
    page = panel(story)
    for answer, deleted in (("Cancel", 0), ("Delete", 1)):
        page.get_by_role("button", name="More actions").click()
        page.get_by_role("menuitem", name="Delete run").click()
        page.get_by_role("dialog").get_by_role("button", name=answer).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.wait_for_timeout(200)
        assert len([call for call in stage.desk.asked if call[0] == "delete"]) == deleted
    expect(page.get_by_role("heading", name="No training yet")).to_be_visible()


def test_the_folder_path_is_copied_and_the_choices_go_back_to_the_node(panel, training):
    page = panel(training)
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Copy folder path").click()
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Train again with changes").click()
    page.wait_for_function("stage.record.again.length === 1")
    assert page.evaluate("stage.record.copied") == [str(training.run.dir)]
    assert page.evaluate("stage.record.again[0].settings.max_train_steps") == 400


def test_a_refused_request_is_told_in_words_and_changes_nothing(panel, stage, training):
    page = panel(training)
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Stop at once").wait_for()
    page.keyboard.press("Escape")
    page.evaluate(f"stage.calls.act('package', '{training.run.run_id}', {{}})")
    page.wait_for_function("stage.record.toasts.length === 1")
    toast = page.evaluate("stage.record.toasts[0]")
    assert toast["severity"] == "error" and toast["summary"] and toast["detail"]


# --- the chart -------------------------------------------------------------------------------------------------------


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
    reading = card(page, "Loss chart").get_by_role("status")
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
    chart = card(page, "Loss chart")
    before = pixels(page)
    chart.get_by_role("button", name="Loss", exact=True).click()
    expect(chart.get_by_role("button", name="Loss", exact=True)).to_have_attribute("aria-pressed", "false")
    assert pixels(page) < before * 0.9
    chart.get_by_role("button", name="Learning rate").click()
    chart.get_by_role("button", name="Log scale").click()
    expect(chart.get_by_role("button", name="Log scale")).to_have_attribute("aria-pressed", "true")
    assert pixels(page) > 500


def test_a_zoom_into_a_thinned_run_fetches_the_rows_in_between(panel, stage, workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=100_000), every=200_000).start()
    _append_steps(story, 100_000)
    page = panel(story)
    page.get_by_role("figure", name=re.compile("Loss over 100.000 steps")).focus()
    for _ in range(6):
        page.keyboard.press("+")
    page.wait_for_function("stage.record.requests.some(([, path]) => path.includes('/losses?from='))")


def test_a_run_of_100_000_steps_stays_fluid(panel, stage, workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=100_000), every=200_000).start()
    _append_steps(story, 99_000)
    page = panel(story)
    page.get_by_role("figure", name=re.compile("Loss over 99.000 steps")).wait_for()
    # Not thinned at all, as if a page had been open since the first step, and drawn once for each new step.
    took = page.evaluate(
        """async (runId) => {
        const { store } = stage;
        const rows = Array.from({ length: 99_000 }, (_, at) => [at + 1, 0.1 + Math.random() / 10, 0.1, 1e-4]);
        store.open = { ...store.open, state: { ...store.open.state, losses: rows, step: 99_000 } };
        const frames = [];
        for (let at = 1; at <= 40; at += 1) {
          const seq = store.open.state.last_seq + 1;
          const event = { seq, time: 1, kind: 'progress', step: 99_000 + at, total: 100_000, loss: 0.1, loss_ema: 0.1, lr: {} };
          const begin = performance.now();
          store.takeLive({ run_id: runId, slug: 'herbalist', event });
          await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
          frames.push(performance.now() - begin);
        }
        return frames.sort((a, b) => a - b)[20];
      }""",
        story.run.run_id,
    )
    assert took < 50, f"a frame with a new step takes {took:.0f} ms"


def _append_steps(story, steps):
    with open(story.run.events_file, "a", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            file.write(
                f'{{"v":1,"seq":{10 + step},"time":{1.79e9 + step},"kind":"progress","step":{step},"total":100000,'
                f'"loss":{0.1 + (step % 37) / 1000},"loss_ema":0.12,"lr":{{"unet":0.0001}}}}\n'
            )


# --- compare, reload, two pages ----------------------------------------------------------------------------------------


def test_two_runs_are_compared_on_one_chart_with_what_differs(panel, workspace, training):
    rehearse(workspace, rehearsed_plan(max_train_steps=300, unet_lr=2e-4)).start().train(1, 130)
    page = panel()
    page.get_by_role("button", name="Compare", exact=True).first.click()
    for run in page.get_by_role("list", name="Runs").get_by_role("button").all():
        run.click()
    page.get_by_role("status").get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Compare runs")).to_be_visible()
    expect(page.get_by_role("figure", name=re.compile("Loss of 2 runs"))).to_be_visible()
    differences = card(page, "Differences")
    expect(differences.get_by_role("row", name="unet_lr")).to_contain_text("1e-4")
    page.get_by_role("button", name="All runs").click()
    expect(page.get_by_role("list", name="Runs").get_by_role("listitem")).to_have_count(2)


def test_a_panel_closed_and_opened_again_shows_what_happened_meanwhile(panel, stage, training):
    page = panel(training)
    page.evaluate("stage.unmount()")
    before = len(stage.requests)
    for step in (221, 222, 223):
        stage.desk.tell(training.run.run_id, "progress", step=step, total=400, loss=0.1, loss_ema=0.1)
    page.wait_for_timeout(300)
    assert len(stage.requests) == before, "a closed panel sends no request"
    page.evaluate("stage.mount()")
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "Training 223/400")


def test_two_pages_show_the_same_picture_as_one_that_was_lost_and_came_back(panel, stage, training):
    first, second = panel(training), panel(training)
    stage.drop_sockets()
    training.train(221, 240)
    first.wait_for_function("document.body.dataset.connected")
    for page in (first, second):
        expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "Training 240/400")
    states = [page.evaluate("JSON.stringify(stage.store.open.state)") for page in (first, second)]
    assert states[0] == states[1]


def test_an_open_panel_sends_no_request_while_nothing_happens(panel, stage, training):
    page = panel(training)
    page.wait_for_timeout(400)
    before = len(stage.requests)
    page.wait_for_timeout(1500)
    assert len(stage.requests) == before


# --- for everybody -----------------------------------------------------------------------------------------------------


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
    expect(card(page, "Outcome")).to_contain_text("<b>bold</b>")
    expect(card(page, "Notices")).to_contain_text("<b>bold</b>")
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
