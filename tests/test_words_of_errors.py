"""Errors say what is wrong in words that need no library's manual, with numbers that fit their nouns."""

import re

import pytest

from kohya_bridge.counted import counted
from kohya_bridge.errors import InvalidInput
from kohya_bridge.forbidding import parse
from kohya_bridge.settings import TrainingSettings

from .wording import oddities


def told(**settings):
    with pytest.raises(InvalidInput) as refused:
        parse(TrainingSettings, settings, what="the training settings")
    return refused.value


@pytest.mark.parametrize(
    ("field", "value", "problem", "fix"),
    [
        ("unet_lr", "0,0001", "it is not a number: decimals stand behind a point, not a comma.", "Write 0.0001."),
        ("unet_lr", "fast", "it is not a number.", "Write a number."),
        ("network_dim", "many", "it is not a whole number.", "Write a whole number."),
        ("network_dim", 8.5, "it is not a whole number.", "Write a whole number."),
        ("network_dim", 0, "the least is 1.", ""),
        ("network_dim", 900, "the most is 512.", ""),
        ("unet_lr", 0, "it must be above 0.", ""),
        ("flip_aug", "perhaps", "it is neither true nor false.", "Write true or false."),
        ("attention", "flash", "it is none of sdpa, xformers.", "Write one of them."),
        ("optimizer_args", "a", "it is not a mapping of names to values.", "Write `name: value` lines below it."),
        ("network_weights", 7, "it is not text.", "Write it in quotes: '7'."),
        ("network_weights", [], "it is not text.", "Write text."),
        ("network_dim", "1,024", "it is not a whole number: no comma stands between thousands.", "Write 1024."),
        ("network_dim", "0,5", "it is not a whole number.", "Write a whole number."),
        ("network_dim", None, "it is empty.", "Write a value, or leave it out."),
        ("lr_scheduler", "Cosine", "it is none of constant, constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial.", "Did you mean 'cosine'?"),
        ("optimizer_args", {"betas": [0.9, "x"]}, "it is not a number.", "Write a number."),
        ("optimizer_args", {"eps": {}}, "it is not a number, true or false, text or a list.", "Write a number, true or false, text or a list."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_value_is_said_as_a_person_would(field, value, problem, fix):
    error = told(**{field: value})
    (found,) = error.problems
    assert (found.field.split(".")[0], found.problem, found.fix) == (field, problem, fix)
    assert error.problem.startswith("There is 1 problem in the training settings:")


def test_every_wrong_value_of_every_setting_is_told_without_a_word_of_the_library():
    """The library's own sentences say `Input should be` and `unable to parse`."""
    for name in TrainingSettings.model_fields:
        for value in ("words, and more", -5, 1e12, [], {"a": None}, None):
            try:
                parse(TrainingSettings, {name: value}, what="it")
            except InvalidInput as error:
                for each in error.problems:
                    assert not re.search(r"[Ii]nput|unable to parse|should be|type=|valid (number|integer|boolean)", each.problem), each.problem  # fmt: skip


def test_several_problems_are_several():
    assert told(network_dim=0, unet_lr="x").problem.startswith(
        "There are 2 problems in the training settings:"
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 pictures"), (1, "1 picture"), (2, "2 pictures"), (1200, "1,200 pictures")],
)
def test_numbers_fit_their_nouns(number, words):
    assert counted(number, "picture") == words
    assert counted(1, "entry", "entries") == "1 entry" and counted(3, "entry", "entries") == "3 entries"


@pytest.mark.parametrize(
    "odd",
    ["There are 1 pictures.", "1 warnings", "from a in_json folder", "an picture", "the training settings has 1 problem", "There is 3 problems", "stops (l.1960)"],
)  # fmt: skip
def test_what_a_reader_stumbles_over_is_found(odd):
    assert oddities(odd)


@pytest.mark.parametrize(
    "good",
    ["1 picture and 2 pictures", "1 caption is a sentence", "1.5 times", "a U-Net", "an SDXL model", "a one-step guess", "0.1 times", "an hour", "a unit"],
)  # fmt: skip
def test_and_what_reads_well_is_left_alone(good):
    assert not oddities(good)
