"""What waits for a run is cut out of its canvas whole, and queued once."""

from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs.held_prompt import HeldPrompt, claim, forget, keep, waiting_part

OPEN_RUN = {"class_type": "OpenRun", "inputs": {"run": "alice/0123456789ab"}}
CANVAS = {
    "export": {"class_type": "Export", "inputs": {"slug": "alice"}},
    "lint": {"class_type": "Lint", "inputs": {"dataset": ["export", 0]}},
    "base": {"class_type": "Load", "inputs": {"name": "base.safetensors"}},
    "train": {"class_type": "Train", "inputs": {"dataset": ["lint", 0]}, "is_changed": [1]},
    "grid": {"class_type": "Grid", "inputs": {"run": ["train", 0], "model": ["base", 0], "sizes": [64, 64]}},
    "save": {"class_type": "Save", "inputs": {"images": ["grid", 0]}, "is_changed": [2]},
    "report": {"class_type": "Show", "inputs": {"text": ["lint", 1]}},
}


def test_what_waits_keeps_all_it_needs_and_nothing_that_has_run():
    held = waiting_part(CANVAS, "train", replacement=OPEN_RUN)
    assert set(held) == {"base", "train", "grid", "save"}
    assert held["train"] == OPEN_RUN
    assert held["grid"]["inputs"] == CANVAS["grid"]["inputs"]


def test_a_waiting_node_keeps_what_it_needs_from_before_the_training():
    canvas = {
        **CANVAS,
        "card": {"class_type": "Card", "inputs": {"run": ["train", 0], "data": ["export", 0]}},
    }
    assert set(waiting_part(canvas, "train", replacement=OPEN_RUN)) == {
        "base",
        "train",
        "grid",
        "save",
        "card",
        "export",
    }


def test_notes_that_comfyui_left_on_nodes_are_not_kept():
    assert "is_changed" not in waiting_part(CANVAS, "train", replacement=OPEN_RUN)["save"]


def test_a_canvas_that_ends_with_the_training_holds_nothing_back():
    ends = {key: CANVAS[key] for key in ("export", "lint", "train")}
    assert waiting_part(ends, "train", replacement=OPEN_RUN) == {}


def test_a_held_prompt_is_handed_out_once(tmp_path):
    run = RunFolder(tmp_path / "alice" / "0123456789ab")
    held = HeldPrompt(waiting_part(CANVAS, "train", replacement=OPEN_RUN), client_id="page")
    keep(run, held)
    assert claim(run) == [held]
    assert claim(run) == []


def test_a_canvas_that_is_queued_anew_forgets_what_it_left_and_nothing_else(tmp_path):
    run = RunFolder(tmp_path / "alice" / "0123456789ab")
    left = HeldPrompt(waiting_part(CANVAS, "train", replacement=OPEN_RUN))
    save = {**CANVAS["save"], "inputs": {**CANVAS["save"]["inputs"], "filename_prefix": "other"}}
    anew = HeldPrompt(waiting_part({**CANVAS, "save": save}, "train", replacement=OPEN_RUN))
    other = HeldPrompt({"another": OPEN_RUN})
    keep(run, left)
    keep(run, other)
    forget(run, anew, node_id="train")
    assert claim(run) == [other]


def test_several_canvases_may_wait_for_one_run(tmp_path):
    run = RunFolder(tmp_path / "alice" / "0123456789ab")
    keep(run, HeldPrompt({"first": OPEN_RUN}))
    keep(run, HeldPrompt({"second": OPEN_RUN}))
    assert [set(each.prompt) for each in claim(run)] == [{"first"}, {"second"}]


def test_a_canvas_that_is_queued_twice_waits_once(tmp_path):
    run = RunFolder(tmp_path / "alice" / "0123456789ab")
    keep(run, HeldPrompt({"grid": OPEN_RUN}, client_id="before"))
    keep(run, HeldPrompt({"grid": OPEN_RUN}, client_id="now"))
    (held,) = claim(run)
    assert held.client_id == "now"
