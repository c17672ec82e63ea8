"""Training again: the same choices, or safer ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.plan import TrainingPlan, TrainingRequest, make_plan, make_settings, request_of
from kohya_bridge.runs.retry import MAKERS, changed_request, choices_of, suggestions
from kohya_bridge.settings import TrainingSettings
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
    settings = make_settings(changed_request(plan, found), "sd15", images=24)
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
        plan = plan.model_copy(
            update={"settings": make_settings(changed_request(plan, found), "sd15", images=24)}
        )
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
    assert changed_request(kohya, fp8).kohya == {"fp8_base": True} and fp8.why


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


# --- a plan's request is its inverse --------------------------------------------------------------------------------------


def made_again(
    plan: TrainingPlan, request: TrainingRequest, *, folder_trigger: str = "char_other"
) -> TrainingPlan:
    """The plan that `request` gives where the same pictures lie, in a folder whose metadata name another trigger."""
    return make_plan(
        request,
        dataset=plan.dataset.model_copy(update={"trigger": folder_trigger}),
        base_model=plan.base_model,
        engine=request.engine,
        engine_version=plan.engine_version,
        model_files=plan.model_files,
        host=plan.host,
    )


def other_values(name: str) -> list[object]:
    """Values of a setting, most of them not its default."""
    now = getattr(TrainingSettings(), name)
    if isinstance(now, bool):
        return [not now, now]
    if isinstance(now, (int, float)):
        return [now * 2, now + 8, now + 1, now / 2, 0.25, 512, 7]
    if isinstance(now, dict):
        return [{"weight_decay": 0.01, "betas": [0.9, 0.99]}]
    return [
        "a" * 64,
        "no",
        "fp16",
        "bf16",
        "float",
        "AdamW8bit",
        "constant",
        "xformers",
        "v_prediction",
        "sigma",
        "mode",
        150,
    ]


@pytest.mark.parametrize("name", TrainingSettings.model_fields)
def test_every_setting_comes_back_from_the_plan(name):
    beside = {
        "zero_terminal_snr": {"prediction_type": "v_prediction"},
        "weighting_scheme": {"timestep_sampling": "sigma"},
    }
    plan = rehearsed_plan(
        **{"cache_text_encoder_outputs": False, "network_train_unet_only": True, **beside.get(name, {})}
    )
    told = plan.model_dump(mode="json")
    for value in other_values(name):
        try:
            changed = TrainingPlan.model_validate({**told, "settings": {**told["settings"], name: value}})
        except ValidationError:
            continue
        if changed != plan:
            break
    else:
        pytest.fail(f"none of the values tried for {name} is one")
    for request in (request_of(changed), choices_of(changed)):
        assert made_again(changed, request) == changed


words = st.from_regex(r"[a-z]([a-z0-9_-]{0,20}[a-z0-9])?", fullmatch=True)
names = st.from_regex(r"[A-Za-z0-9_ .-]{1,20}x\.safetensors", fullmatch=True).filter(
    lambda name: ".." not in name
)
plans = st.builds(
    lambda told, settings: TrainingPlan.model_validate(
        {**rehearsed_plan().model_dump(mode="json"), **told, "settings": {**rehearsed_plan().settings.model_dump(mode="json"), **settings}}
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "character": words,
            "dataset": st.fixed_dictionaries(
                {"slug": words, "digest": st.just("e" * 64), "images": st.integers(0, 5000)},
                optional={"trigger": st.from_regex(r"[a-z0-9_]{1,20}", fullmatch=True)},
            ),
            "base_model": st.fixed_dictionaries({"name": names, "sha256": st.just("f" * 64), "family": st.sampled_from(sorted(ARCHITECTURES))}),
            "engine": st.sampled_from(["native", "kohya"]),
            "engine_version": words,
            "host": st.sampled_from(["", "ComfyUI 0.3.75"]),
            "model_files": st.dictionaries(words, st.fixed_dictionaries({"name": names, "sha256": st.just("9" * 64)}), max_size=2),
            "preset": st.sampled_from(["", "draft", "standard", "a_preset_of_later"]),
            "kohya": st.dictionaries(words, st.one_of(st.booleans(), st.integers(0, 9), st.text(max_size=8)), max_size=2),
        },
    ),
    st.fixed_dictionaries({}, optional={"seed": st.integers(0, 2**32 - 1), "network_dim": st.integers(1, 512), "unet_lr": st.floats(1e-9, 1.0)}),
)  # fmt: skip


@given(plans)
def test_whatever_the_plan_its_request_gives_it_again(plan):
    for request in (request_of(plan), choices_of(plan)):
        again = made_again(plan, request, folder_trigger="" if not plan.dataset.trigger else "char_other")
        assert again == plan and again.run_id == plan.run_id


def test_retry_keeps_the_trigger_that_was_typed():
    plan = rehearsed_plan()
    found = next(iter(suggestions(plan, "not_finite")))
    assert changed_request(plan, found).trigger == plan.dataset.trigger == "char_herbalist"
