"""A plan is complete, refuses nonsense with every problem at once, and names its run by content."""

from pathlib import Path

import pytest
import yaml

from kohya_bridge.errors import InvalidInput
from kohya_bridge.forbidding import parse, parse_yaml, read_yaml
from kohya_bridge.plan import (
    LATER_SETTINGS,
    BaseModelFacts,
    DatasetFacts,
    TrainingPlan,
    TrainingRequest,
    make_plan,
    plan_differences,
    read_plan,
)
from kohya_bridge.presets import PRESETS
from kohya_bridge.settings import TrainingSettings

PLANS = Path(__file__).parent / "fixtures" / "plans_before_auto"
DATASET = DatasetFacts(slug="alice", digest="d" * 64, images=30, trigger="char_alice")
BASE = BaseModelFacts(name="base.safetensors", sha256="b" * 64, family="sd15")


def plan_for(**request):
    settings = {"mixed_precision": "bf16", **request.pop("settings", {})}
    values = {"dataset": "alice", "base_model": "base.safetensors", "settings": settings, **request}
    full = parse(TrainingRequest, values, what="the request")
    return make_plan(full, dataset=DATASET, base_model=BASE, engine="native", engine_version="1")


def test_a_plan_that_was_written_before_a_setting_existed_keeps_its_id():
    plan = plan_for()
    before = yaml.safe_load(plan.to_yaml())
    for name in LATER_SETTINGS:
        del before["settings"][name]
    assert TrainingPlan.model_validate(before).run_id == plan.run_id == "e654182c8eb2"
    switched_on = plan_for(settings={"diff_output_preservation_multiplier": 1.0})
    assert switched_on.run_id != plan.run_id


@pytest.mark.parametrize("file", sorted(PLANS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_plan_of_the_time_before_auto_is_the_run_that_it_was(file):
    """Written by the program of that time; the short one leaves out all that its defaults said."""
    plan = read_plan(file)
    assert plan.run_id == file.stem.rpartition("-")[2]
    if not file.stem.startswith("short"):
        written, now = yaml.safe_load(file.read_text("utf-8")), yaml.safe_load(plan.to_yaml())
        added = {name: now["settings"].pop(name) for name in set(now["settings"]) - set(written["settings"])}
        assert now == written
        assert all(value == LATER_SETTINGS[name] for name, value in added.items())


def test_a_plan_never_holds_auto():
    with pytest.raises(InvalidInput) as refused:
        plan_for(settings={"mixed_precision": "auto"})
    assert "mixed_precision is auto" in str(refused.value.problems)
    assert TrainingSettings().mixed_precision == "auto"


def test_the_same_request_gives_the_same_run_id_and_a_changed_number_another():
    assert plan_for().run_id == plan_for().run_id
    assert plan_for(settings={"seed": 7}).run_id != plan_for().run_id


def test_renaming_the_base_file_does_not_change_the_run():
    renamed = make_plan(
        TrainingRequest(dataset="alice", base_model="x", settings={"mixed_precision": "bf16"}),
        dataset=DATASET,
        base_model=BaseModelFacts(name="other.safetensors", sha256="b" * 64, family="sd15"),
        engine="native",
        engine_version="1",
    )
    assert renamed.run_id == plan_for().run_id


def test_a_plan_read_back_from_yaml_is_the_same_plan(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(plan_for().to_yaml(), encoding="utf-8")
    assert read_plan(file) == plan_for()


def test_all_wrong_settings_are_named_at_once_with_the_nearest_known_name():
    with pytest.raises(InvalidInput) as caught:
        parse(
            TrainingSettings, {"netwrok_dim": 8, "network_alpha": -1, "optimizer_type": "Adma"}, what="x.yaml"
        )
    assert {each.field for each in caught.value.problems} == {
        "netwrok_dim",
        "network_alpha",
        "optimizer_type",
    }
    assert "Did you mean 'network_dim'?" in caught.value.problem


def test_settings_that_contradict_each_other_are_quoted_with_both_values():
    with pytest.raises(InvalidInput) as caught:
        parse(
            TrainingSettings, {"network_train_unet_only": False, "cache_text_encoder_outputs": True}, what="x"
        )
    assert "cache_text_encoder_outputs: true" in caught.value.problem
    assert "network_train_unet_only: false" in caught.value.problem


@pytest.mark.parametrize("slug", ["../x", "a/b", "", "Ünicode", "con", "a" * 65, ".hidden", "x\n"])
def test_a_name_that_could_leave_the_workspace_is_refused(slug):
    with pytest.raises(InvalidInput):
        parse(TrainingRequest, {"dataset": slug, "base_model": "x"}, what="the request")


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_of_every_family_gives_valid_settings(preset, family):
    settings = {"mixed_precision": "bf16"}
    request = TrainingRequest(dataset="alice", base_model="x", preset=preset, settings=settings)
    base = BaseModelFacts(name="x", sha256="b" * 64, family=family)
    plan = make_plan(request, dataset=DATASET, base_model=base, engine="native", engine_version="1")
    assert plan.settings.max_train_steps % 50 == 0


def test_differences_of_two_plans_are_listed_by_field():
    changed = plan_for(settings={"network_dim": 32, "seed": 1})
    assert plan_differences(plan_for(), changed) == [
        ("settings.network_dim", 16, 32),
        ("settings.seed", 42, 1),
    ]


def test_every_setting_is_documented():
    undocumented = [name for name, field in TrainingSettings.model_fields.items() if not field.description]
    assert undocumented == []


def test_an_unquoted_no_in_yaml_means_no_mixed_precision(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("mixed_precision: no")
    assert parse(TrainingSettings, read_yaml(file), what="x").mixed_precision == "no"


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "0b" + "1" * 20_000, "9" * 5000])
def test_a_whole_number_too_long_to_be_written_out_is_refused_in_words(number):
    with pytest.raises(InvalidInput, match="number of too many digits") as refused:
        parse_yaml(f"seed: {number}\n", what="the config")
    assert refused.value.fix
