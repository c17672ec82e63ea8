"""Training again: the same choices, or safer ones."""

import pytest

from kohya_bridge.plan import make_settings
from kohya_bridge.runs.retry import MAKERS, choices_of, request_of, suggestions
from kohya_bridge.workspace import PACK_ROOT
from tests.rehearsed_runs import rehearsed_plan


@pytest.mark.parametrize("preset", ["draft", "standard", "careful", "low_memory"])
@pytest.mark.parametrize("family_name", ["sd15", "sdxl"])
def test_the_choices_of_a_plan_lead_to_the_same_numbers(family_name, preset):
    plan = rehearsed_plan(family_name=family_name, preset=preset, network_dim=24, flip_aug=True)
    for request in (request_of(plan), choices_of(plan)):
        assert make_settings(request, family_name, images=plan.dataset.images) == plan.settings
    assert choices_of(plan).settings.keys() == {"network_dim", "flip_aug", "seed", "mixed_precision"}
    left_to_the_machine = choices_of(plan, automatic=["mixed_precision"])
    assert left_to_the_machine.settings.keys() == {"network_dim", "flip_aug", "seed"}
    assert make_settings(left_to_the_machine, family_name, images=24).mixed_precision == "auto"


@pytest.mark.parametrize("code", ["out_of_memory", "not_finite", "precision_unsupported", "xformers"])
def test_a_suggestion_is_a_valid_plan_that_differs(code):
    plan = rehearsed_plan(attention="xformers")
    found, *_ = suggestions(plan, code)
    settings = make_settings(request_of(plan, found), "sd15", images=24)
    assert settings != plan.settings and found.title and found.why
    for name, value in found.settings.items():
        assert getattr(settings, name) == value


def test_running_out_of_memory_again_is_answered_by_less_detail_until_nothing_is_left():
    plan = rehearsed_plan(train_batch_size=4)
    titles = []
    for _ in range(12):
        found = next(iter(suggestions(plan, "out_of_memory")), None)
        if found is None or not found.title.startswith(("Retry with", "Retry smaller")):
            break
        titles.append(found.title)
        plan = plan.model_copy(update={"settings": make_settings(request_of(plan, found), "sd15", images=24)})
    assert titles[0] == "Retry with less memory" and titles[1] == "Retry smaller"
    assert plan.settings.train_batch_size == 1 and plan.settings.gradient_accumulation_steps == 4
    assert plan.settings.resolution == 256


def test_nothing_is_suggested_for_a_cause_that_numbers_do_not_mend():
    assert suggestions(rehearsed_plan(), "disk_full") == ()
    assert suggestions(rehearsed_plan(), "") == ()


def test_for_lack_of_memory_the_whole_ladder_is_offered_each_rung_with_its_price():
    plan = rehearsed_plan()
    titles = [each.title for each in suggestions(plan, "killed")]
    assert titles[0] == "Retry with less memory" and "Retry: lower the resolution" in titles
    assert not any("fp8" in title for title in titles), "only the kohya engine can hold the base in fp8"
    kohya = rehearsed_plan(engine="kohya")
    fp8 = next(each for each in suggestions(kohya, "killed") if "fp8" in each.title)
    assert request_of(kohya, fp8).kohya == {"fp8_base": True} and fp8.why


def test_a_format_that_the_device_lacks_is_answered_by_its_own_and_by_the_one_that_all_have():
    wanted = [each.settings for each in suggestions(rehearsed_plan(), "precision_unsupported")]
    assert wanted == [{"mixed_precision": "auto"}, {"mixed_precision": "no"}]
    again = suggestions(rehearsed_plan(mixed_precision="no"), "precision_unsupported")
    assert [each.settings for each in again] == [{"mixed_precision": "auto"}]
    overflowed, *_ = suggestions(rehearsed_plan(mixed_precision="fp16"), "not_finite")
    assert overflowed.settings["mixed_precision"] == "auto"
    (vae,) = suggestions(rehearsed_plan(engine="kohya", mixed_precision="fp16"), "half_vae")
    assert vae.kohya == {"no_half_vae": True} and not vae.settings


def test_every_cause_with_a_suggestion_is_one_that_failures_are_told_with():
    text = "".join(
        (PACK_ROOT / "kohya_bridge" / "engines" / name).read_text("utf-8")
        for name in ("causes.py", "failures.py", "child.py")
    )
    for code in MAKERS:
        assert f'"{code}"' in text, code
