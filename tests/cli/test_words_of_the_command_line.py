"""A word of the command line that is wrong is told like everything else: the thing, the reason, the way out, in no sentence of argparse."""

import re

import pytest

from kohya_bridge.__main__ import main, make_parser


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["lint", "alice", "--resolution", "five"], "--resolution 'five' is not a whole number."),
        (["lnt"], "There is no verb 'lnt'. Did you mean 'lint'?"),
        (["xyzzy"], "There is no verb 'xyzzy'. There are: "),
        (["lint", "alice", "--family", "sdxll"], "--family does not know 'sdxll'. Did you mean 'sdxl'?"),
        (["lint", "alice", "--resolution"], "--resolution needs a value behind it."),
        (["lint"], "Something is missing: dataset."),
        (["lint", "alice", "--colour", "x"], "`--colour x` is not understood here."),
    ],
)
def test_a_wrong_word_is_told_in_words(typed, told, capsys):
    with pytest.raises(SystemExit) as ended:
        main(typed)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert told in said and "--help` shows how it is used." in said
    assert not re.search(r"invalid|unrecognized|argument|usage:", said)


def test_every_verb_tells_a_number_that_is_none_and_a_choice_that_is_none(capsys):
    for name, parser in make_parser()[1].parsers.items():
        for option in (each for each in parser._actions if each.option_strings and (each.type in (int, float) or each.choices)):  # fmt: skip
            with pytest.raises(SystemExit):
                main([name, option.option_strings[-1], "five, or so"])
            said = capsys.readouterr().err
            assert option.option_strings[0] in said and not re.search("invalid|choose from", said), said
