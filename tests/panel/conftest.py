"""Fixtures of the panel's tests."""

import time
from pathlib import Path

import pytest

from kohya_bridge.workspace import Workspace
from tests.panel.stage import Stage
from tests.rehearsed_runs import rehearse, rehearsed_plan


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace.at(Path(tmp_path) / "training")


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
