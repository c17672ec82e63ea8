"""`scripts/train_lora.sh` checks before it starts and says what is missing in words."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kohya_bridge.workspace import PACK_ROOT

pytestmark = [
    pytest.mark.skipif(
        os.name == "nt", reason="shell scripts are for POSIX; Windows uses the Python command"
    ),
    pytest.mark.torch,  # the scripts look whether all packages are there
]


def call(script, *arguments, workspace, **environment):
    return subprocess.run(
        [str(PACK_ROOT / "scripts" / script), *arguments],
        env={**os.environ, "PYTHON": sys.executable, "WIZDROID_TRAINING": str(workspace), **environment},
        capture_output=True,
        text=True,
    )


def test_without_a_config_it_prints_how_to_use_it(tmp_path):
    answer = call("train_lora.sh", workspace=tmp_path)
    assert answer.returncode == 2 and "scripts/train_lora.sh CONFIG" in answer.stderr


def test_a_name_without_config_and_base_model_is_answered_with_what_to_add(tmp_path):
    answer = call("train_lora.sh", "herbalist", workspace=tmp_path)
    assert answer.returncode == 4 and "BASE=model.safetensors" in answer.stderr


def test_a_character_takes_the_template_with_its_own_dataset_and_base(tmp_path):
    answer = call("train_lora.sh", "herbalist", workspace=tmp_path, BASE="model.safetensors")
    assert answer.returncode == 3, answer.stderr
    assert "dataset = 'herbalist'" in answer.stderr and "base_model = 'model.safetensors'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_newest_run_of_nobody_is_said_to_be_none(tmp_path):
    answer = call("newest_run.sh", "herbalist", workspace=tmp_path)
    assert answer.returncode != 0 and "There is no run of 'herbalist' yet." in answer.stderr
