"""What people bring from elsewhere comes in whole or says what it lost: each trial of `scripts.foreign_trials`."""

import pytest

from scripts.foreign_trials import RIGHT, TRIALS, outcome_of

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize(("kind", "what", "act"), TRIALS, ids=[what for _, what, _ in TRIALS])
def test_it_comes_in_or_is_told(kind, what, act):
    outcome, said = outcome_of(act)
    assert outcome == RIGHT, said
