"""The nightly check passes on what ships, and finds each way in which edited files can fall apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from kohya_bridge.workspace import PACK_ROOT, Workspace
from scripts.nightly import everything_wrong, known_nodes, main, wrong_configs, wrong_workflows


def test_everything_that_ships_fits_together(capsys):
    assert main([]) == 0, capsys.readouterr().out


def test_it_needs_neither_torch_nor_comfyui():
    code = "import sys, scripts.nightly as n; n.main([]); print({'torch', 'comfy', 'diffusers'} & set(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=PACK_ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-1] == "set()"


@pytest.fixture
def workspace(tmp_path):
    """A copy of the demo dataset in a workspace of its own."""
    workspace = Workspace.at(tmp_path / "training")
    shutil.copytree(
        PACK_ROOT / "training" / "kohya" / "datasets" / "char_wren", workspace.dataset_dir("char_wren")
    )
    return workspace


def test_a_dataset_whose_captions_were_lost_is_named(workspace):
    captions = workspace.dataset_dir("char_wren") / "captions.jsonl"
    captions.write_text("".join(captions.read_text().splitlines(keepends=True)[1:]))
    assert any(each.startswith("dataset char_wren: E") for each in everything_wrong(workspace))


def test_a_trigger_that_differs_between_options_and_dataset_is_named(workspace):
    metadata = workspace.dataset_dir("char_wren") / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("lora_tag: char_wren", "lora_tag: char_wrenn"))
    assert any(
        "wren is called by 'char_wren', its dataset char_wren by 'char_wrenn'" in each
        for each in everything_wrong(workspace)
    )


def test_a_config_with_a_mistyped_name_is_named_with_the_right_one(tmp_path):
    (tmp_path / "alice.yaml").write_text("dataset: alice\nbase_model: x\nsettings: {netwrok_dim: 8}\n")
    (problem,) = wrong_configs(tmp_path)
    assert "config alice.yaml" in problem and "network_dim" in problem


def test_workflows_with_unknown_nodes_choices_or_no_content_are_named(tmp_path):
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "a.py").write_text('node_id="WizdroidKohyaTrain"')
    folder = tmp_path / "example_workflows" / "api"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps({"1": {"class_type": "WizdroidGone", "inputs": {}}}))
    train = {"class_type": "WizdroidKohyaTrain", "inputs": {"preset": "turbo", "mode": "wait"}}
    (folder / "b.json").write_text(json.dumps({"1": train}))
    (folder / "c.json").write_text("[]")
    (folder / "d.json").write_text(json.dumps({"nodes": [{"type": "WizdroidKohyaTrain"}]}))
    problems = list(wrong_workflows(tmp_path))
    assert len(problems) == 3
    assert (
        "no node WizdroidGone" in problems[0]
        and "'turbo' is no preset" in problems[1]
        and "no workflow" in problems[2]
    )
    assert known_nodes(tmp_path) == {"WizdroidKohyaTrain"}
