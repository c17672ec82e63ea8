"""Runs that were planned before keep their ids: recorded once, read and made again by what is there today."""

from __future__ import annotations

import json

import pytest

from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingRequest, make_plan, read_plan
from kohya_bridge.workspace import PACK_ROOT

RECORDED = PACK_ROOT / "tests" / "fixtures" / "plans"
VERSIONS = {"native": "1", "kohya": "48d368fa557731ad0488c07304dfeba8c07910eb"}
ROWS = json.loads((RECORDED / "ids.json").read_text("utf-8"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['family']}-{row['preset']}-{row['engine']}")
def test_the_same_request_makes_the_same_plan_as_it_did(row):
    request = TrainingRequest(
        dataset="dots",
        base_model="base.safetensors",
        preset=row["preset"],
        settings={"mixed_precision": "bf16", **row.get("settings", {})},
        kohya=row.get("kohya", {}),
    )
    plan = make_plan(
        request,
        dataset=DatasetFacts(slug="dots", digest="d" * 64, images=row["images"], trigger="mychar"),
        base_model=BaseModelFacts(name="base.safetensors", sha256="b" * 64, family=row["family"]),
        engine=row["engine"],
        engine_version=VERSIONS[row["engine"]],
    )
    assert plan.run_id == row["run_id"]


@pytest.mark.parametrize("file", sorted(RECORDED.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_plan_in_a_run_folder_is_read_as_the_same_run(file):
    assert read_plan(file).run_id == file.name[:12]
