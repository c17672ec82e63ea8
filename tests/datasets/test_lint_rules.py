"""Every rule stays silent on a good dataset and speaks on a bad one that differs in just that."""

import pytest
from PIL import ImageOps

from kohya_bridge.lint.catalogue import RULES

from .lint_world import BAD, BAD_TO_A_MODEL, SIDE, linted, varied_picture

pytestmark = pytest.mark.usefixtures("known_pictures")


def test_a_good_dataset_gives_no_finding_at_all(good_set, tokenizer_dir):
    assert linted(good_set, tokenizer_dir).text() == "char_x: 15 pictures, no findings. Ready to train."


def test_every_rule_has_a_bad_dataset_here():
    assert {*BAD, *BAD_TO_A_MODEL} == {rule.id for rule in RULES}


@pytest.mark.parametrize("id", list(BAD))
def test_a_bad_dataset_makes_its_rule_speak_of_the_right_subject(id, dataset_dir, tokenizer_dir):
    spoil, subject = BAD[id]
    spoil(dataset_dir)
    report = linted(dataset_dir, tokenizer_dir, bucket_no_upscale=id not in ("W242", "E202"))
    found = [each for each in report.findings if each.rule == id]
    assert subject in [each.subject for each in found], report.text()
    assert all(each.problem and each.fix for each in found)
    assert report.blocks or id[0] != "E"


LAID_DOWN = {
    "is nearly the same as 0001.png": lambda picture: picture,
    "is nearly the mirror image of 0001.png": ImageOps.mirror,
    "is nearly 0001.png, upside down": lambda picture: picture.rotate(180),
    "is nearly the mirror image of 0001.png, upside down": ImageOps.flip,
    "is nearly 0001.png, turned by 90 degrees": lambda picture: picture.rotate(90, expand=True),
    "is nearly 0001.png, turned by 270 degrees": lambda picture: picture.rotate(270, expand=True),
    "is nearly the mirror image of 0001.png, turned by 90 degrees": lambda picture: ImageOps.mirror(picture).rotate(90, expand=True),
    "is nearly the mirror image of 0001.png, turned by 270 degrees": lambda picture: ImageOps.mirror(picture).rotate(270, expand=True),
}  # fmt: skip


@pytest.mark.parametrize("how", LAID_DOWN)
def test_a_copy_that_was_turned_or_mirrored_is_found_and_told_how(how, dataset_dir, tokenizer_dir):
    copy = LAID_DOWN[how](varied_picture(1)).resize((SIDE + 60, SIDE + 60))
    copy.save(dataset_dir / "images" / "0002.png")
    found = [each for each in linted(dataset_dir, tokenizer_dir).findings if each.rule == "W232"]
    assert [(each.subject, each.problem) for each in found] == [("0002.png", f"It {how}.")]


def test_rule_ids_and_texts_are_complete_and_unique():
    assert len({rule.id[1:] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.trainer.endswith(".") and rule.fix.endswith(".") and rule.title and rule.check.__doc__
