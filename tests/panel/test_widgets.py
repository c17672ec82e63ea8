"""The panel on a bare page: what a person sees and does, by role and accessible name."""

import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.rehearsed_runs import rehearse, rehearsed_plan
from tests.waiting import wait_until

pytestmark = pytest.mark.browser


def card(page, name):
    return page.get_by_role("region", name=name, exact=True)


# --- the list --------------------------------------------------------------------------------------------------------


def test_an_empty_workspace_says_what_to_do_first(panel):
    page = panel()
    expect(page.get_by_role("heading", name="No training yet")).to_be_visible()
    expect(page.get_by_role("region", name="How to begin").get_by_role("listitem")).to_have_count(3)
    page.get_by_role("button", name="Add the training nodes").click()
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


def test_a_run_is_followed_live(panel, stage, training):
    """How soon: `test_an_event_is_drawn_in_under_half_a_second`."""
    page = panel(training)
    bar = page.get_by_role("progressbar", name="Training progress")
    expect(bar).to_have_attribute("aria-valuetext", "Training 220/400")
    stage.desk.tell(
        training.run.run_id, "progress", step=221, total=400, epoch=9, loss=0.1, loss_ema=0.1, eta_s=90
    )
    expect(bar).to_have_attribute("aria-valuetext", "Training 221/400")
    expect(card(page, "State")).to_contain_text("1 min 30 s")


def test_stopping_waits_for_what_the_trainer_says(panel, stage, training):
    page = panel(training)
    stage.desk.stop = lambda run_id, at_once: stage.desk.asked.append(("stop", run_id, at_once))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stopping")).to_be_visible()
    stage.desk.is_asked(("stop", training.run.run_id, False))
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
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        page.mouse.up()
    else:
        stop.focus()
        page.keyboard.down("Enter")
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
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
    changes = outcome.get_by_role("list", name="What it changes").first
    expect(changes.get_by_role("listitem").filter(has_text="train_batch_size")).to_contain_text(
        "2 becomes  → 1"
    )
    outcome.get_by_text("What the trainer said").click()
    expect(outcome.get_by_text("OOM", exact=True)).to_be_visible()
    page.get_by_role("button", name="Retry with less memory").click()
    page.wait_for_function("stage.record.requests.some(([, path]) => path.endsWith('/retry'))")
    wait_until(lambda: stage.desk.asked)
    assert [call[0] for call in stage.desk.asked] == ["submit"]


def test_a_run_that_fails_while_it_is_watched_offers_its_suggestions(panel, stage, training):
    page = panel(training)
    words = {"problem": "Memory ran out.", "fix": "Use less.", "code": "out_of_memory"}
    stage.desk.tell(training.run.run_id, "run_finished", outcome="failed", step=220, **words)
    expect(page.get_by_role("button", name="Retry with less memory")).to_be_visible()
    card(page, "Outcome").get_by_text("Other ways").click()
    page.get_by_role("button", name="Retry: lower the resolution").click()
    page.wait_for_function("stage.record.requests.some(([, path]) => path.endsWith('/retry'))")
    wait_until(lambda: stage.desk.asked)
    kind, settings = stage.desk.asked[-1]
    assert kind == "submit" and settings["resolution"] == 384 and settings["train_batch_size"] == 2


def test_the_best_checkpoint_is_marked_with_its_reason_and_tried_by_one_click(panel, training):
    page = panel(training)
    table = card(page, "Checkpoints")
    expect(table).to_contain_text("Best is step 200. Lowest held-out loss so far")
    expect(table.get_by_role("row", name="200 best")).to_be_visible()
    page.get_by_role("button", name="Try this checkpoint, step 100").click()
    page.wait_for_function("stage.record.tried.length === 1")
    tried = page.evaluate("stage.record.tried[0]")
    assert (tried["slug"], tried["step"]) == ("herbalist", 100)


def test_a_checkpoint_shows_what_it_draws(panel, training):
    page = panel(training)
    table = card(page, "Checkpoints")
    expect(table.get_by_role("img", name=re.compile("Sample of step"))).to_have_count(2)
    table.get_by_role("button", name="Sample of step 100").click()
    expect(page.get_by_role("dialog")).to_contain_text("Step 100: char_herbalist, portrait")


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


def test_each_run_shows_what_changed_in_itself(panel, workspace):
    for rate in (1e-4, 2e-4, 5e-4):
        rehearse(workspace, rehearsed_plan(max_train_steps=400, unet_lr=rate)).start()
    page = panel()
    changes = card(page, "Plan").get_by_role("listitem").filter(has_text="unet_lr")
    seen = set()
    for at in range(3):
        page.get_by_role("list", name="Runs").get_by_role("button").nth(at).click()
        rate = page.get_by_role("region", name="Plan").get_by_text("Learning rate").locator("xpath=..")
        expect(rate).to_be_visible()
        new = rate.inner_text().split()[-1]
        if changes.count():
            expect(changes).to_contain_text(new)  # what it became is this run's own rate
        seen.add(new)
        page.get_by_role("button", name="All runs").click()
    assert seen == {"1e-4", "2e-4", "5e-4"}


def test_a_list_shows_what_its_items_say_now_and_keeps_what_stays_the_same(panel):
    """`make` sees nothing but what an element is known by, so there is nothing that it could forget to update."""
    told = panel().evaluate(
        """async () => {
          const { keyed } = await import('/extensions/wizdroid-lora-training/js/dom.js');
          const list = document.createElement('ul');
          let made = 0;
          const draw = (items) => { keyed(list, items, ({ field, value }) => ({ field, value }),
            (each) => { made += 1; const item = document.createElement('li'); item.textContent = Object.values(each).join(' ');
              return item; },
            (item, { live }) => { item.title = String(live); });
            return [...list.children].map((each) => each.textContent + ' ' + each.title); };
          const first = draw([{ field: 'lr', value: 1, live: 1, hidden: 9 }, { field: 'dim', value: 4, live: 1 }]);
          const stays = list.children[1];
          const second = draw([{ field: 'lr', value: 2, live: 2 }, { field: 'dim', value: 4, live: 2 }]);
          const turned = draw([{ field: 'dim', value: 4, live: 3 }, { field: 'lr', value: 2, live: 3 }]);
          return { first, second, turned, made, same: list.children[0] === stays };
        }"""
    )
    assert told == {
        "first": ["lr 1 1", "dim 4 1"],
        "second": ["lr 2 2", "dim 4 2"],
        "turned": ["dim 4 3", "lr 2 3"],
        "made": 3,
        "same": True,
    }


def test_the_log_is_fetched_only_when_it_is_unfolded(panel, stage, training):
    page = panel(training)
    assert not any(path.endswith("/log") for _, path in stage.requests)
    card(page, "Log of the trainer").get_by_role("heading", name="Log").click()
    expect(page.get_by_label("Log", exact=True)).to_contain_text("steps: 100%")


def test_deleting_asks_and_then_leaves_the_list(panel, stage, workspace):
    story = rehearse(workspace, rehearsed_plan()).start().train(1, 5).finish("stopped")
    page = panel(story)
    for answer in ("Cancel", "Delete"):
        assert not page.evaluate("stage.record.requests.some(([, path]) => path.endsWith('/delete'))")
        page.get_by_role("button", name="More actions").click()
        page.get_by_role("menuitem", name="Delete run").click()
        page.get_by_role("dialog").get_by_role("button", name=answer).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
    stage.desk.is_asked(("delete", story.run.run_id))
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


# --- small things that a person notices ------------------------------------------------------------------------------


def test_escape_leads_back_and_closes_a_menu_before_that(panel, training):
    page = panel(training)
    page.get_by_role("button", name="More actions").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_be_hidden()
    expect(page.get_by_role("heading", name="herbalist")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("list", name="Runs")).to_be_visible()


def test_numbers_are_marked_as_old_while_comfyui_is_away(panel, training):
    page = panel(training)
    page.evaluate("for (const each of window.stage.listeners.gone) each()")
    expect(
        page.get_by_role("status").filter(has_text="ComfyUI is away. These numbers are of")
    ).to_be_visible()
    page.evaluate("for (const each of window.stage.listeners.reconnect) each()")
    expect(page.get_by_text("ComfyUI is away")).to_be_hidden()


def test_what_is_prepared_is_counted_by_the_bar_and_the_percentage_alike(panel, stage, training):
    page = panel(training)
    stage.desk.tell(training.run.run_id, "phase", name="caching", done=35, total=65)
    hero = card(page, "State")
    expect(hero).to_contain_text("Preparing pictures and captions 35/65")
    expect(hero).to_contain_text("53 %")
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "53")


def test_a_run_that_is_over_is_headed_by_its_held_out_loss(panel, stage, training):
    page = panel(training)
    expect(card(page, "State").get_by_text("Held-out loss")).to_be_hidden()
    stage.desk.tell(training.run.run_id, "run_finished", outcome="completed")
    best = training.run.state().validations[-1]
    expect(card(page, "State")).to_contain_text(f"Held-out loss{best['loss']:.4g} at step {best['step']}")


def test_numbers_keep_their_own_direction_on_a_page_from_right_to_left(panel, training):
    page = panel(training)
    page.evaluate("document.documentElement.dir = 'rtl'")
    for text, first, last in (("16 / 8", 0, 5), ("512 px", 0, 5)):
        left, right = page.evaluate(
            """([text, first, last]) => { const node = [...document.querySelectorAll('[aria-label="Plan"] bdi')]
              .find((each) => each.textContent === text).firstChild;
              return [first, last].map((at) => { const range = document.createRange(); range.setStart(node, at);
                range.setEnd(node, at + 1); return range.getBoundingClientRect().left; }); }""",
            [text, first, last],
        )
        assert left < right, text


def test_the_next_picture_has_an_arrow_and_not_the_sign_for_playing(panel, training):
    page = panel(training)
    card(page, "Samples and grids").get_by_role("button").first.click()
    following = page.get_by_role("button", name="Next picture")
    assert "wz-icon-next" in following.locator("svg").get_attribute("class")
    assert following.locator("path").get_attribute("d") != "M5 3l8 5-8 5z"
