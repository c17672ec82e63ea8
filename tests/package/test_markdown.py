"""Cards hold other people's words as text: read by a real Markdown renderer, nothing in them is active, remote or a link."""

import html
import json
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kohya_bridge.package.card import model_card
from kohya_bridge.package.facts import gather_facts
from kohya_bridge.package.hub import _civitai_description
from kohya_bridge.package.markdown import code, fenced, prose, table
from kohya_bridge.package.recipe import _PLAN_BLOCK
from kohya_bridge.package.sidecars import a1111_sidecar, lora_manager_sidecar

HOSTILE = (
    "<script>alert(1)</script>", "<img src=//t.example/p.gif>", "![](https://t.example/p.gif)", "[a](javascript:alert(1))", "[a]: https://t.example",
    "[a][a]", "<https://t.example>", "https://t.example/x", "www.t.example", "me@t.example", "`", "``", "```", "````", "|", "\\", "\\|", "\n", "\n\n",
    "\n```\n", "\n# ", "\n- ", "\n> ", "1. ", "# ", "- ", "---", "\n---\n", "===", "*a*", "__a__", "~~a~~", "&lt;", "&#x3c;b>", "</code>", "<!--", "-->", "<![CDATA[", "<?x",
    "\t", "    indented", "$x$", "{{x}}", "\x00", "\u2028", "javascript:alert(1)", "<svg onload=a>", "\"'", "a_b", "_a_", "::: x", "[^1]", "[x] ",
)  # fmt: skip
texts = st.lists(
    st.sampled_from(HOSTILE) | st.text(alphabet="ab <>&`*_[]()!|\\\n#-+.:/@0123~^=", max_size=8), max_size=8
).map("".join)
renderer = MarkdownIt("gfm-like", {"html": True, "linkify": True})
renderer.linkify.set({"fuzzy_link": False, "fuzzy_email": True})
BESIDE_TEXT = {"softbreak", "hardbreak", "text", "code_inline", "strong_open", "strong_close"}


def tokens_in(markdown):
    return [inner for each in renderer.parse(markdown) for inner in (each, *(each.children or []))]


def shown(markdown):
    """The text that a reader sees, its spaces tidied."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", renderer.render(markdown))).split())


def tidied(text):
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())


@given(texts)
def test_prose_renders_as_the_text_and_nothing_else(text):
    tokens = tokens_in(prose(text))
    assert {each.type for each in tokens} <= {"paragraph_open", "paragraph_close", "inline", "text"}
    (told,) = [each.children for each in tokens if each.type == "inline"] or [[]]
    assert "".join(each.content for each in told) == tidied(text)


@given(texts)
def test_code_in_a_line_and_in_a_cell_stays_there(text):
    assert {each.type for each in tokens_in(f"x {code(text)} y")} <= {
        "paragraph_open", "paragraph_close", "inline", "text", "code_inline",
    }  # fmt: skip
    rows = table((("A", code(text)), ("B", prose(text)), ("C", "last")))
    cells = [each for each in tokens_in(rows) if each.type == "td_open"]
    assert len(cells) == 2 * (1 + 2 * bool(tidied(text)))


@given(texts)
def test_a_fence_is_ended_by_nothing_in_it(text):
    tokens = renderer.parse(f"before\n\n{fenced(text, 'yaml')}\n\nafter")
    assert [each.type for each in tokens if each.level == 0] == [
        "paragraph_open", "paragraph_close", "fence", "paragraph_open", "paragraph_close",
    ]  # fmt: skip


@pytest.fixture
def facts(validated):
    return gather_facts(validated.run, validated.workspace)


FIELDS = ("title", "author", "best_reason")
OF_THE_RELEASE = ("description", "source", "credit")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(texts, min_size=9, max_size=9))
def test_no_word_of_anybody_makes_a_card_do_anything(facts, said):
    plan = facts.plan.model_copy(
        update={
            "base_model": facts.plan.base_model.model_copy(update={"name": said[6]}),
            "kohya": {"comment": said[8]},
        }
    )
    spoilt = replace(
        facts,
        plan=plan,
        **dict(zip(FIELDS, said, strict=False)),
        release=replace(facts.release, **dict(zip(OF_THE_RELEASE, said[3:], strict=False))),
        sample=facts.sample.model_copy(update={"prompt": said[7]}),
        environment={"versions": {said[1]: said[2]}},
    )
    card = model_card(spoilt, file_name="x.safetensors", sha256="a" * 64, tensor_sha256="b" * 64)
    for markdown in (card, _civitai_description(spoilt)):
        tokens = tokens_in(markdown)
        assert not {"html_block", "html_inline", "image"} & {each.type for each in tokens}
        links = {each.attrs["href"] for each in tokens if each.type == "link_open"}
        assert links <= {facts.release.licence.url}
    headings = [each for each in tokens_in(card) if each.type == "heading_open"]
    assert len(headings) == 1 + 10, "the card's own, and none of anybody else's"
    for text in (spoilt.title, spoilt.release.source, spoilt.release.description):
        assert tidied(text) in shown(card) or "<" in text or "&" in text  # those two are looked at above
    assert _PLAN_BLOCK.search(card)["plan"].strip() == plan.to_yaml().strip()


def test_descriptions_that_managers_show_as_html_hold_no_element(facts, validated, tmp_path):
    from kohya_bridge.package import package_lora

    made = package_lora(validated.run, lora_dir=tmp_path / "loras")
    spoilt = replace(facts, release=replace(facts.release, description="<img src=x onerror=alert(1)> & co"))
    told = lora_manager_sidecar(spoilt, replace_file(made), preview="", now=0.0)
    assert told["modelDescription"] == "&lt;img src=x onerror=alert(1)&gt; &amp; co"
    assert a1111_sidecar(spoilt)["description"].startswith("<img"), "shown as text there"
    json.dumps(told)


def replace_file(made):
    from kohya_bridge.package.header import Rewritten

    return Rewritten(made.file, "a" * 64, "b" * 64)
