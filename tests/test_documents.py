"""What the documents say of events, files, controls, presets and templates is what the code does."""

from __future__ import annotations

import re

import pytest

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.events import EVENT_KINDS
from kohya_bridge.plan import (
    BaseModelFacts,
    DatasetFacts,
    TrainingRequest,
    make_plan,
    make_settings,
    read_request,
)
from kohya_bridge.presets import PRESETS
from kohya_bridge.run_folder import CONTROLS, RunFolder
from kohya_bridge.settings import TrainingSettings
from kohya_bridge.stop_ladder import AT_ONCE, SOFT
from kohya_bridge.workspace import PACK_ROOT

DOCS = PACK_ROOT / "docs"
CONFIGS = sorted((PACK_ROOT / "training" / "kohya" / "configs").glob("*.yaml"))


def first_cells(text: str, heading: str) -> set[str]:
    """The first cells of the table under a heading."""
    return set(re.findall(r"^\| `([^`]+)` \|", section(text, heading), re.MULTILINE))


def section(text: str, heading: str) -> str:
    return re.split(rf"^## {heading}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]


def test_every_event_kind_is_documented_and_no_other():
    assert first_cells((DOCS / "run_folder.md").read_text("utf-8"), "Events") == set(EVENT_KINDS)


def test_every_field_of_every_event_is_documented():
    lines = section((DOCS / "run_folder.md").read_text("utf-8"), "Events").splitlines()
    for kind, description in EVENT_KINDS.items():
        (row,) = [line for line in lines if line.startswith(f"| `{kind}` |")]
        for field in re.findall(r"`(\w+)`", description):
            assert f"`{field}`" in row, (kind, field)


def test_every_control_is_documented_and_no_other():
    assert first_cells((DOCS / "run_folder.md").read_text("utf-8"), "Controls") == set(CONTROLS)


def test_every_file_of_a_run_folder_is_documented(tmp_path):
    text = (DOCS / "run_folder.md").read_text("utf-8")
    run = RunFolder(tmp_path / "alice" / "0123456789ab")
    names = [
        getattr(run, name).name
        for name in dir(RunFolder)
        if name.endswith(("_file", "_dir")) and name != "staging_dir"
    ]
    assert len(names) > 12
    assert [name for name in names if f"`{name}" not in text] == []


def test_the_rungs_of_the_ladder_are_documented_with_their_seconds():
    text = (DOCS / "run_folder.md").read_text("utf-8")
    for rungs, column in ((SOFT, 1), (AT_ONCE, 2)):
        for rung in rungs[:-1]:
            row = next(line for line in text.splitlines() if line.startswith(f"| {rung.how}"))
            assert row.split("|")[1 + column].strip() == f"{rung.seconds:g} s"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_figures_of_every_preset_are_what_the_preset_gives(preset):
    text = (DOCS / "presets.md").read_text("utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| `{preset}` |"))
    request = TrainingRequest(dataset="alice", base_model="x", preset=preset)
    few, many = (make_settings(request, "sdxl", images=count) for count in (1, 10_000))
    assert f"| {few.network_dim} / {few.network_alpha:g} |" in row
    assert f"{few.max_train_steps} to {many.max_train_steps}" in row
    rate = f"{few.unet_lr:.0e}".replace("e-0", "e-")
    assert f"{rate}, {few.lr_scheduler}" in row


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_template_gives_a_valid_plan(file):
    request = read_request(file)
    family = request.family
    assert request.settings["mixed_precision"] == "auto"
    request = request.model_copy(update={"settings": {**request.settings, "mixed_precision": "bf16"}})
    plan = make_plan(
        request,
        dataset=DatasetFacts(slug="my_character", digest="d" * 64, images=30),
        base_model=BaseModelFacts(name="x", sha256="b" * 64, family=family),
        engine="native",
        engine_version="1",
    )
    assert file.stem.startswith(family)
    assert 100 <= plan.settings.save_every_n_steps <= 200
    if file.stem.endswith("_low_memory"):
        low = plan.settings
        assert (low.network_dim, low.network_alpha, low.train_batch_size) == (8, 4.0, 1)
        assert low.gradient_checkpointing and low.cache_latents and low.cache_text_encoder_outputs
        assert low.optimizer_type == "AdamW8bit"


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_template_shows_every_setting_with_a_comment(file):
    lines = [line.strip().removeprefix("# ") for line in file.read_text("utf-8").splitlines()]
    for name in [*TrainingSettings.model_fields, *TrainingRequest.model_fields]:
        if name in ("settings", "kohya", "model_files"):
            continue
        rows = [line for line in lines if line.startswith(f"{name}: ")]
        assert len(rows) == 1 and "#" in rows[0], name


def test_there_is_a_standard_and_a_low_memory_template_for_every_native_family():
    names = {file.stem for file in CONFIGS}
    for family in ARCHITECTURES.values():
        if family.trainable == "diffusers":
            assert {f"{family.name}_character", f"{family.name}_character_low_memory"} <= names


def test_every_promise_names_a_test_that_exists():
    text = (DOCS / "security.md").read_text("utf-8")
    rows = re.findall(r"^\| .* \| (.+) \|$", section(text, "What is promised"), re.MULTILINE)[1:]
    rows = [row for row in rows if set(row) != {"-"}]
    assert len(rows) > 20
    for row in rows:
        named = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        assert re.search(rf"^def {named[2]}\(", (PACK_ROOT / named[1]).read_text("utf-8"), re.MULTILINE), row


PAGES = [*PACK_ROOT.glob("*.md"), *DOCS.glob("*.md"), *(PACK_ROOT / "web" / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_of_a_page_leads_to_something_that_is_there(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    here = [each.partition("#")[0] for each in targets if "://" not in each and not each.startswith("#")]
    assert [each for each in here if not (page.parent / each).exists()] == []


def test_help_pages_have_no_tables_as_the_sidebar_cuts_them_off():
    pages = list((PACK_ROOT / "web" / "docs").glob("*.md"))
    assert len(pages) > 8
    assert [page.name for page in pages if re.search(r"^\|", page.read_text("utf-8"), re.MULTILINE)] == []


def test_help_pages_send_nobody_into_the_code():
    pages = (PACK_ROOT / "web" / "docs").glob("*.md")
    assert [page.name for page in pages if re.search(r"\.py\b", page.read_text("utf-8"))] == []
