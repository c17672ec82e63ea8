"""Lint and packaging judge a licence by one table: what passes the one passes the other."""

import pytest

from kohya_bridge.datasets.dataset_metadata import DatasetMetadata
from kohya_bridge.datasets.licences import LICENCES
from kohya_bridge.errors import Refused
from kohya_bridge.package.release import check_release

from .lint_world import GOOD, linted, remeta

pytestmark = pytest.mark.usefixtures("known_pictures")

STATED = ["", "  ", "CC0-1.0", "cc-by-4.0", "CC-BY-5", "mine", "free", "CC BY", "All rights reserved",
          "LicenseRef-studio", "LicenseRef-", "Free for anybody who asks me first", "CC0-1.0 and others"]  # fmt: skip


@pytest.mark.parametrize("stated", STATED)
def test_lint_warns_of_exactly_those_licences_that_packaging_refuses(dataset_dir, stated):
    remeta(dataset_dir, licence=stated)
    warned = {each.rule for each in linted(dataset_dir).findings} & {"W504", "W507"}
    assert bool(warned) == is_refused(GOOD.model_copy(update={"licence": stated}))


def test_no_known_licence_is_warned_of(dataset_dir):
    for identifier in LICENCES:
        assert not is_refused(GOOD.model_copy(update={"licence": identifier}))


def is_refused(metadata: DatasetMetadata) -> bool:
    try:
        check_release(metadata, dataset="char_x")
    except Refused as error:
        return "licence" in error.problem
    return False
