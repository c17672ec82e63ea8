"""What the guides tell people to do works: commands run in the order of the text, names and links exist."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from PIL import Image

from kohya_bridge.__main__ import make_parser
from kohya_bridge.cli import exit_codes
from kohya_bridge.package.metadata import EXPENDABLE
from kohya_bridge.validation.measures import MEASURES
from kohya_bridge.workspace import PACK_ROOT
from tests.cli.conftest import Shell
from tests.desk.conftest import BASE, make_dataset, write_base_model

GUIDES = [
    PACK_ROOT / "docs" / "kohya_lora_trainer.md",
    PACK_ROOT / "docs" / "packaging.md",
    PACK_ROOT / "docs" / "validation.md",
    PACK_ROOT / "training" / "kohya" / "README.md",
]
QUICK = "--set max_train_steps=12 --set save_every_n_steps=4 --wait"


def name_of(file):
    return file.name


def shell_commands(file):
    blocks = re.findall(r"```sh\n(.*?)```", file.read_text("utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.fixture
def shell(tmp_path):
    shell = Shell(tmp_path)
    make_dataset(shell.workspace, "alice")
    write_base_model(tmp_path / "models" / "checkpoints" / BASE)
    (tmp_path / "models" / "loras").mkdir(parents=True)
    pictures_with_captions(tmp_path / "pictures")
    return shell


def pictures_with_captions(folder):
    folder.mkdir()
    Image.radial_gradient("L").resize((768, 768)).convert("RGB").rotate(90).save(folder / "0001.png")
    (folder / "0001.txt").write_text("char_alice, from behind, blue coat", encoding="utf-8")


@pytest.mark.parametrize("file", [GUIDES[0], GUIDES[3]], ids=name_of)
def test_every_command_of_a_guide_runs_in_the_order_of_its_text(file, shell):
    commands = shell_commands(file)
    assert len(commands) >= 4
    for command in commands:
        words = command.replace("model.safetensors", BASE).replace("--wait", QUICK)
        words = words.replace("PICTURES", str(shell.root / "pictures"))
        run_dirs = list(shell.workspace.runs_dir.glob("alice/*"))
        if "RUN" in command:
            words = words.replace("RUN", run_dirs[0].name)
        if "LORA" in command:
            (lora,) = (shell.root / "models" / "loras").glob("alice/*.safetensors")
            words = words.replace("LORA", f"alice/{lora.name}")
        start, module, name, *rest = shlex.split(words)
        assert (start, module, name) == ("python", "-m", "kohya_bridge")
        answer = shell(*rest)
        well = {exit_codes.DONE, exit_codes.NOT_WELL} if rest[0] == "doctor" else {exit_codes.DONE}
        assert answer.code in well, f"{command}: {answer.err}"
        if rest[0] == "import":  # the next paragraph: licence and approval
            metadata = shell.workspace.dataset_dir("alice") / "metadata.yaml"
            metadata.write_text(shown_metadata(), encoding="utf-8")


@pytest.mark.parametrize("file", [*GUIDES, PACK_ROOT / "CHANGELOG.md"], ids=name_of)
def test_every_link_leads_to_a_file_that_is_there(file):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text("utf-8"))
    assert [target for target in targets if not (file.parent / target).resolve().is_file()] == []


@pytest.mark.parametrize("file", GUIDES, ids=name_of)
def test_every_verb_and_make_target_that_a_guide_names_exists(file):
    text = file.read_text("utf-8")
    verbs = set(re.findall(r"python -m kohya_bridge (\w+)", text))
    assert verbs <= set(make_parser()[1].parsers)
    targets = set(re.findall(r"`make ([a-z-]+)", text))
    makefile = (PACK_ROOT / "Makefile").read_text("utf-8")
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_every_node_that_a_guide_names_has_that_name_on_the_canvas():
    sources = "".join(file.read_text("utf-8") for file in (PACK_ROOT / "nodes").glob("*_node.py"))
    shown = set(re.findall(r'display_name="([A-Z][^"]+)"', sources))
    named = {
        name
        for file in GUIDES
        for name in re.findall(r"(?<!\*)\*([A-Z]\w+(?: \w+)+)\*(?!\*)", file.read_text("utf-8"))
    }
    assert named - {"Load LoRA"} <= shown
    assert len(named) >= 8


def test_the_measures_are_documented_in_the_words_of_the_code():
    text = (PACK_ROOT / "docs" / "validation.md").read_text("utf-8")
    for name, measure in MEASURES.items():
        assert f"| `{name}` | {measure.unit} | {measure.says} | {measure.cannot_say} |" in text


def test_what_a_large_header_leaves_out_is_documented_in_its_order():
    text = (PACK_ROOT / "docs" / "packaging.md").read_text("utf-8")
    places = [
        text.index(f"`{key}`") if key.startswith("ss_") else text.index("the thumbnail, then")
        for key in EXPENDABLE
    ]
    assert places == sorted(places)


def test_the_metadata_that_the_guide_shows_is_accepted_by_the_gate(tmp_path):
    from kohya_bridge.package.release import read_release

    (tmp_path / "metadata.yaml").write_text(shown_metadata())
    assert read_release(tmp_path).licence.identifier == yaml.safe_load(shown_metadata())["licence"]


def shown_metadata():
    (shown,) = re.findall(r"```yaml\n(.*?)```", GUIDES[0].read_text("utf-8"), re.DOTALL)
    return shown
