"""The Character Prompt Builder in the canvas: drawn, locked, filled by what a dataset lacks, fed by another node, polished."""

import json
import re

import pytest

from scripts.host.comfy_client import outcome
from tests.host.canvas import small_dataset

pytestmark = pytest.mark.host


@pytest.fixture
def build(comfy):
    """`build(**inputs)`: run the builder alone; its five outputs by name, and the history."""
    info = comfy.client.get("object_info/WizdroidCharacterPromptBuilder")["WizdroidCharacterPromptBuilder"]
    defaults = {key: spec[1]["default"] for key, spec in info["input"]["required"].items()}

    def run(more=None, **inputs):
        prompt = {"1": {"class_type": "WizdroidCharacterPromptBuilder", "inputs": {**defaults, **inputs}}}
        for slot in range(5):
            prompt[f"{slot + 10}"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", slot]}}
        history = comfy.client.run({**prompt, **(more or {})})
        assert outcome(history) == "success", comfy.log_tail(40)
        said = {
            name: history["outputs"][f"{slot + 10}"]["text"][0]
            for slot, name in enumerate(info["output_name"])
        }
        return said

    return run


def test_a_fresh_node_says_a_whole_prompt_and_its_character_stays_while_the_seed_moves(build):
    first, second = build(seed=1), build(seed=2)
    identity = [
        line for line in first["report"].splitlines() if line.startswith(("hair_colour", "face", "age"))
    ]
    assert len(identity) == 3 and all(line in second["report"].splitlines() for line in identity)
    assert first["prompt"] != second["prompt"] and "pose: " in first["report"]
    other = build(seed=1, lock_seed=1)
    assert other["report"].splitlines()[:9] != first["report"].splitlines()[:9]


def test_gaps_of_a_dataset_are_filled_seed_by_seed_and_the_report_counts_them(comfy, build):
    folder = comfy.workspace_dir / "kohya" / "datasets" / "gaps"
    small_dataset(folder)
    shown = json.dumps([json.loads(line)["prompt"] for line in (folder / "captions.jsonl").open()])
    poses = set()
    for seed in range(4):
        said = build(seed=seed, fill_gaps="gaps", free_text="", lora_trigger="char_wren")
        poses.add(re.search(r"^pose: (.*)$", said["report"], re.M)[1])
        assert "15 pictures" in said["report"] and "options not shown" in said["report"]
    assert len(poses) == 4 and not any(f'"{pose}"' in shown for pose in poses)


def test_another_nodes_prompt_takes_the_place_of_the_choices_and_is_logged(comfy, build):
    given = {
        "5": {
            "class_type": "PrimitiveStringMultiline",
            "inputs": {"value": "a woman in the rain, (red hat:1.3)"},
        }
    }
    said = build(
        given, prompt_in=["5", 0], lora_trigger="char_alice", export_caption=True, character_id="fed"
    )
    assert said["prompt"] == "char_alice, a woman in the rain, (red hat:1.3)"
    assert said["caption"] == "char_alice, a woman in the rain, red hat"
    row = json.loads((comfy.workspace_dir / "kohya" / "prompts" / "fed.jsonl").read_text("utf-8"))
    assert row["prompt"] == said["prompt"] and row["trigger"] == "char_alice"


def test_a_trigger_of_ones_own_is_used_kept_and_described(comfy, build):
    said = build(own_trigger="char_zoe", lora_trigger="char_wren")
    assert said["trigger"] == "char_zoe" and said["prompt"].startswith("char_zoe, ")
    assert re.search(r"The trigger char_zoe is \d tokens long. No dataset has it yet.", said["report"])
    info = comfy.client.get("object_info/WizdroidCharacterPromptBuilder")["WizdroidCharacterPromptBuilder"]
    assert "char_zoe" in str(info["input"]["required"]["lora_trigger"])


def test_weights_and_ratings_reach_the_prompt(build):
    said = build(hair_colour="auburn", weights="hair_colour=1.2", locked="", family="sd15")
    assert (
        "(auburn hair:1.2)" in said["prompt"]
        and "auburn hair" in said["caption"]
        and ":" not in said["caption"]
    )


def test_without_ollama_the_plain_prompt_is_used_and_the_report_says_so(build):
    plain = build(seed=7)
    said = build(seed=7, polish_model="llama3.2")
    assert said["prompt"] == plain["prompt"] and "was not polished: No Ollama answers" in said["report"]


@pytest.mark.browser
def test_the_page_shows_the_few_inputs_the_rest_on_demand_and_the_prompt_as_plain_text(comfy, new_page):
    page = new_page(viewport={"width": 1400, "height": 1000})
    page.goto(comfy.url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager")
    page.evaluate(
        """() => {
            window.app.graph.clear();  // the workflow of a first visit renders for minutes
            const node = window.LiteGraph.createNode('WizdroidCharacterPromptBuilder');
            window.app.graph.add(node);
            window.builder = node;
            node.widgets.find((each) => each.name === 'free_text').value = '<b>bold</b>';
        }"""
    )
    shown = "() => window.builder.widgets.filter((each) => window.builder.isWidgetVisible(each)).map((each) => each.name)"
    few = page.evaluate(shown)
    assert {"lora_trigger", "seed", "pose", "light", "locked", "fill_gaps"} <= set(few) and len(few) < 30
    small = page.evaluate("window.builder.size[1]")
    press = "window.builder.widgets.find((each) => each.label === 'Show all inputs').callback()"
    page.evaluate(press)
    assert {"lens", "weights", "polish_model"} <= set(page.evaluate(shown))
    assert page.evaluate("window.builder.size[1]") > small + 300

    page.evaluate("window.app.queuePrompt(0, 1)")
    told = page.get_by_label("What Character Prompt Builder told")
    told.wait_for(timeout=20_000)
    page.wait_for_function("window.builder.widgets.find((each) => each.name === 'told')?.value")
    assert "<b>bold</b>" in told.input_value() and "negative: " in told.input_value()
    sent = page.evaluate("window.app.graphToPrompt().then((each) => Object.values(each.output)[0].inputs)")
    assert "told" not in sent and "more" not in sent
