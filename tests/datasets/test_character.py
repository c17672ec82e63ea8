"""The builder: rich options, the same words for the same seed, filters that hold, triggers that stay plain tokens."""

import json
import re

import pytest

from kohya_bridge.building.character import (
    build_character,
    character_from_prompt,
    load_options,
    prompt_style,
    random_choices,
    read_weights,
)
from kohya_bridge.building.character_options import PACK_OPTIONS_FILE, RATINGS, TRIGGER, user_options_file
from kohya_bridge.captions import append_prompt, read_prompts
from kohya_bridge.errors import InvalidInput
from kohya_bridge.workspace import Workspace

OPTIONS = load_options()


def built(seed=1, **changes):
    return build_character(OPTIONS, **{"choices": random_choices(OPTIONS), "seed": seed, **changes})


def write_user_options(workspace, content):
    file = user_options_file(workspace)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_there_are_at_least_15_categories_and_400_described_options():
    assert len(OPTIONS.categories) >= 15
    options = [option for category in OPTIONS for option in category.options]
    assert len(options) >= 400
    assert all(option.about and option.tag and option.prose for option in options)


def test_every_category_offers_random_and_none_first():
    assert all(category.names[:2] == ("Random", "none") for category in OPTIONS)


def test_every_entry_is_an_adult():
    young = re.compile(
        r"\b(child|children|kid|teen\w*|boy|girl|schoolgirl|schoolboy|loli\w*|underage|minor)\b", re.I
    )
    for category in OPTIONS:
        for option in category.options:
            assert not young.search(f"{option.name} {option.tag} {option.prose}"), option.name


def test_the_same_seed_gives_the_same_words_and_another_seed_others():
    assert built(7) == built(7)
    assert built(7).prompt != built(8).prompt


def test_fixing_one_category_leaves_all_others_as_they_were():
    free = built(3)
    fixed = built(3, choices={**random_choices(OPTIONS), "pose": "kneeling"})
    assert fixed.attributes["pose"] == "kneeling"
    assert {k: v for k, v in fixed.attributes.items() if k != "pose"} == {
        k: v for k, v in free.attributes.items() if k != "pose"
    }


def test_locked_categories_stay_while_the_seed_moves():
    identity = [category.name for category in OPTIONS if category.part == "identity"]
    pictures = [built(seed, locked=identity, lock_seed=11) for seed in range(12)]
    assert len({tuple(p.attributes.get(name) for name in identity) for p in pictures}) == 1
    assert len({p.attributes["pose"] for p in pictures}) > 3


def test_sequential_seeds_show_every_option_of_a_category_once_before_any_comes_again():
    moods = [m for m in OPTIONS.category("mood").options if m.rating == "sfw"]
    seen = [
        build_character(OPTIONS, choices={"mood": "Random"}, seed=s, order="sequential").attributes["mood"]
        for s in range(len(moods))
    ]
    assert sorted(seen) == sorted(m.name for m in moods)


@pytest.mark.parametrize("rating", RATINGS)
def test_random_never_takes_an_option_above_the_rating(rating):
    allowed = RATINGS[: RATINGS.index(rating) + 1]
    for seed in range(60):
        for name, choice in built(seed, rating=rating).attributes.items():
            assert OPTIONS.category(name).option(choice).rating in allowed


def test_an_explicit_choice_above_the_rating_is_refused_with_its_field():
    with pytest.raises(InvalidInput) as caught:
        build_character(OPTIONS, choices={"outfit": "lingerie"}, seed=0)
    assert caught.value.problems[0].field == "outfit"


def test_random_follows_the_chosen_gender_and_genre():
    for seed in range(60):
        person = built(seed, choices={**random_choices(OPTIONS), "gender": "woman"}, genre="fantasy")
        for name, choice in person.attributes.items():
            option = OPTIONS.category(name).option(choice)
            assert not option.gender or "female" in option.gender
            assert name == "gender" or not option.genre or "fantasy" in option.genre


def test_the_trigger_is_a_plain_token_at_the_front_in_every_phrasing():
    for family in ("sd15", "sdxl", "newer"):
        person = built(5, trigger="char_wren", family=family)
        assert person.prompt.startswith("char_wren, ") and person.caption.startswith("char_wren, ")
        assert person.trigger == person.character_id == "char_wren"


@pytest.mark.parametrize("trigger", ["<char_alice>", "char alice", "Char", "a,b"])
def test_a_trigger_that_is_no_plain_token_is_refused_with_a_better_one(trigger):
    with pytest.raises(InvalidInput, match="a-z, 0-9"):
        built(trigger=trigger)


def test_each_family_gets_its_own_phrasing():
    choices = {"gender": "woman", "age": "forties", "build": "wiry", "hair_style": "bob", "hair_colour": "auburn",
               "outfit": "apron", "pose": "kneeling", "shot": "close-up", "light": "candlelight"}  # fmt: skip
    said = {
        f: build_character(OPTIONS, choices=choices, seed=0, family=f).prompt
        for f in ("sd15", "sdxl", "newer")
    }
    assert (
        said["sd15"]
        == "1woman, solo, close-up, 40s, wiry, bob cut, auburn hair, apron, kneeling, candlelight"
    )
    assert said["sdxl"] == (
        "a close-up portrait of a middle-aged, wiry woman, with auburn hair cut in a chin-length bob, "
        "wearing a linen apron over a shirt, kneeling on one knee, in candlelight"
    )
    assert said["newer"] == (
        "a close-up portrait of a middle-aged, wiry woman, with auburn hair cut in a chin-length bob. "
        "She wears a linen apron over a shirt. She is kneeling on one knee. The picture is in candlelight."
    )


def test_an_unknown_family_lists_what_there_is():
    with pytest.raises(InvalidInput, match="sd15"):
        prompt_style("sd99")


def test_free_text_leaves_no_wildcard_behind_and_resolves_by_seed():
    text = "{red|green} scarf, __prop__, {a|{b|c}}, __nonsense__, half {open"
    first, again = built(2, free_text=text), built(2, free_text=text)
    assert first.prompt == again.prompt
    assert not re.search(r"[{}|]|__", first.prompt)
    assert "scarf" in first.prompt


def test_a_caption_has_neither_quality_words_nor_sampler_syntax():
    person = build_character(
        OPTIONS,
        choices={"quality": "masterpiece"},
        seed=0,
        trigger="char_x",
        free_text="(red hat:1.3), <lora:x:1>",
    )
    assert person.prompt == "char_x, masterpiece, best quality, (red hat:1.3), <lora:x:1>"
    assert person.caption == "char_x, red hat"


def test_absorbed_categories_stay_in_the_prompt_and_leave_the_caption():
    person = build_character(
        OPTIONS,
        choices={"hair_colour": "copper", "pose": "walking"},
        seed=0,
        trigger="char_x",
        absorbed=["hair_colour"],
    )
    assert "copper hair" in person.prompt and "copper" not in person.caption and "walking" in person.caption


def test_all_wrong_choices_are_named_at_once_with_the_nearest_option():
    with pytest.raises(InvalidInput) as caught:
        build_character(OPTIONS, choices={"pose": "knelling", "nose": "x"}, seed=0, rating="x", genre="y")
    assert {each.field for each in caught.value.problems} == {"pose", "nose", "rating", "genre"}
    assert "Did you mean 'kneeling'?" in caught.value.problem


def test_without_a_trigger_the_character_id_depends_on_the_identity_alone():
    one = built(4, trigger="")
    other_pose = built(4, choices={**random_choices(OPTIONS), "pose": "walking", "background": "beach"})
    assert one.character_id == other_pose.character_id


def test_every_trigger_of_the_map_is_a_plain_token():
    assert OPTIONS.lora_trigger
    assert all(TRIGGER.fullmatch(trigger) for trigger in OPTIONS.lora_trigger.values())


def test_a_persons_options_are_merged_and_replace_those_of_the_same_name(tmp_path):
    workspace = Workspace.at(tmp_path)
    mine = {"name": "kneeling", "tag": "kneeling, mine", "prose": "kneeling down"}
    new = {"name": "on a swing", "tag": "swing", "prose": "sitting on a swing"}
    write_user_options(workspace, {"options": {"pose": [mine, new]}, "lora_trigger": {"zoe": "char_zoe"}})
    merged = load_options(workspace)
    assert merged.category("pose").option("kneeling").tag == "kneeling, mine"
    assert merged.category("pose").names[-1] == "on a swing"
    assert merged.lora_trigger["zoe"] == "char_zoe" and "wren" in merged.lora_trigger
    assert load_options().category("pose").option("on a swing") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"options": {"poses": []}}, "unknown categories: poses"),
        ({"lora_trigger": {"x": "<x>"}}, "not a plain token"),
        ({"lora_trigger": {"x": "char_wren"}}, "two characters: char_wren"),
        ({"options": {"pose": [{"name": "Random", "tag": "a", "prose": "b"}]}}, "reserved"),
        ({"options": {"pose": [{"name": "x", "tag": "a", "prose": "b", "ratting": "sfw"}]}}, "ratting"),
        ("{not json", "not valid JSON in line 1"),
    ],
)  # fmt: skip
def test_a_damaged_user_file_is_refused_with_the_reason(tmp_path, content, said):
    workspace = Workspace.at(tmp_path)
    write_user_options(workspace, content)
    with pytest.raises(InvalidInput, match=re.escape(said)):
        load_options(workspace)


def test_the_prompt_log_gets_each_prompt_once_and_survives_a_torn_line(tmp_path):
    workspace = Workspace.at(tmp_path)
    person = built(1, trigger="char_wren", dataset="char_wren")
    assert append_prompt(workspace, person, clock=lambda: 12.5)
    assert not append_prompt(workspace, person)
    file = workspace.prompts_file("char_wren")
    with open(file, "ab") as stream:
        stream.write(b'{"prompt": "torn')
    assert append_prompt(workspace, built(2, trigger="char_wren"))
    rows = read_prompts(file)
    assert [row["seed"] for row in rows] == [1, 2]
    assert rows[0]["time"] == 12.5 and rows[0]["dataset"] == "char_wren"
    assert set(rows[0]) >= {
        "prompt",
        "negative_prompt",
        "trigger",
        "seed",
        "character_id",
        "attributes",
        "time",
    }


def test_the_shipped_file_is_stable_json_with_one_option_a_line():
    lines = PACK_OPTIONS_FILE.read_text("utf-8").splitlines()
    assert sum(line.lstrip().startswith('{"name"') and '"tag"' in line for line in lines) >= 400


def test_a_whole_part_is_locked_or_absorbed_by_its_name():
    pictures = [built(seed, locked=["identity"], lock_seed=3) for seed in range(8)]
    identity = [category.name for category in OPTIONS if category.part == "identity"]
    assert len({tuple(p.attributes.get(name) for name in identity) for p in pictures}) == 1
    assert len({p.attributes["background"] for p in pictures}) > 3
    assert built(1, absorbed=["identity"]) == built(1, absorbed=identity)


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("sd15", "1woman, solo, (bob cut:1.2), (auburn hair:0.8), apron"),
        ("sdxl", "a woman, with (auburn:0.8) hair (cut in a chin-length bob:1.2), wearing a linen apron over a shirt"),
        ("newer", "a woman, with auburn hair cut in a chin-length bob. She wears a linen apron over a shirt."),
    ],
)  # fmt: skip
def test_weights_emphasise_the_prompt_as_comfyui_reads_it_and_never_the_caption(family, said):
    choices = {"gender": "woman", "hair_style": "bob", "hair_colour": "auburn", "outfit": "apron"}
    weights = {"hair_style": 1.2, "hair_colour": 0.8, "pose": 1.5}
    person = build_character(OPTIONS, choices=choices, seed=0, family=family, weights=weights)
    assert person.prompt == said
    assert ":" not in person.caption and "(" not in person.caption


def test_an_article_stays_in_front_of_an_emphasised_noun_and_follows_its_first_letter():
    choices = {"gender": "woman", "age": "early twenties", "outfit": "apron"}
    person = build_character(
        OPTIONS, choices=choices, seed=0, family="sdxl", weights={"age": 1.1, "outfit": 1.3}
    )
    assert person.prompt == "a (young adult:1.1) woman, wearing a (linen apron over a shirt:1.3)"


def test_weights_that_can_not_be_are_refused_by_name():
    assert read_weights(["pose=1.2", "outfit:0.9"]) == {"pose": 1.2, "outfit": 0.9}
    with pytest.raises(InvalidInput, match="pose"):
        read_weights(["pose"])
    with pytest.raises(InvalidInput) as caught:
        built(weights={"pose": 9.0, "nose": 1.1})
    assert {each.field for each in caught.value.problems} == {"weights.pose", "nose"}


def test_brackets_and_wildcards_of_a_persons_own_option_can_not_be_read_as_syntax(tmp_path):
    workspace = Workspace.at(tmp_path)
    odd = {"name": "odd", "tag": "robe (blue), {a|b}, __pose__", "prose": "a robe (blue) {a|b} __pose__"}
    write_user_options(workspace, {"options": {"outfit": [odd]}})
    for family in ("sd15", "sdxl", "newer"):
        person = build_character(load_options(workspace), choices={"outfit": "odd"}, seed=0, family=family)
        assert "\\(blue\\)" in person.prompt and not re.search(r"[{}|]|__", person.prompt)


def test_a_prompt_from_elsewhere_gets_the_trigger_first_and_once_and_a_plain_caption():
    person = character_from_prompt(
        OPTIONS,
        "portrait of char_x, char_x, (red hat:1.3), {rain|snow}",
        seed=4,
        trigger="char_x",
        free_text="__light__",
    )
    assert person.prompt.startswith("char_x, portrait of the character, (red hat:1.3), ")
    assert person.prompt.count("char_x") == 1 and not re.search(r"[{}|]|__", person.prompt)
    assert person.caption == person.prompt.replace("(red hat:1.3)", "red hat")
    assert person.character_id == "char_x" and person.attributes == {} and person.negative_prompt
    assert character_from_prompt(OPTIONS, "a, b", seed=0).prompt == "a, b"
