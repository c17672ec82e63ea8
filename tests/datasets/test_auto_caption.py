"""Automatic captions fill gaps only, are marked, and a service that is not there is said so."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kohya_bridge.building.character import build_character, load_options
from kohya_bridge.building.polishing import polish
from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.auto_caption import (
    LocalModelCaptioner,
    OllamaCaptioner,
    caption_missing,
    captioner_named,
)
from kohya_bridge.datasets.captioner_names import local_captioners
from kohya_bridge.datasets.ollama import Ollama
from kohya_bridge.errors import InvalidInput, NotFound, Unavailable
from kohya_bridge.workspace import Workspace

from .lint_world import linted, recaption, uncaption
from .small_tagger import make_tagger


class OllamaDouble(BaseHTTPRequestHandler):
    """Answers /api/generate as Ollama does; `answer` and `status` are set by the test."""

    answer, status = "standing, red hat", 200

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked = asked
        self.send_response(type(self).status)
        self.end_headers()
        self.wfile.write(json.dumps({"response": type(self).answer}).encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def ollama():
    class Double(OllamaDouble):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Double)
    thread = threading.Thread(target=server.serve_forever, name="ollama-double")
    thread.start()
    Double.host = f"http://127.0.0.1:{server.server_port}"
    yield Double
    server.shutdown()
    thread.join()


def test_only_pictures_without_a_caption_are_described_and_marked(dataset_dir, ollama):
    uncaption(dataset_dir, "0001.png")
    recaption(dataset_dir, "char_x, by hand", "0002.png")
    done = caption_missing(read_dataset(dataset_dir), OllamaCaptioner(Ollama("llava", ollama.host)))
    assert done.written == ("0001.png",) and done.notes == ()
    captions = {item.name: item for item in done.dataset.items}
    assert captions["0001.png"].caption == "char_x, standing, red hat"
    assert captions["0001.png"].row.source == "auto" and captions["0002.png"].caption == "char_x, by hand"
    assert ollama.asked["model"] == "llava" and len(ollama.asked["images"]) == 1
    assert [f.subject for f in linted(dataset_dir).findings if f.rule == "I112"] == ["0001.png"]


def test_a_caption_written_by_hand_in_the_meantime_stays(dataset_dir, ollama):
    uncaption(dataset_dir)
    stale = read_dataset(dataset_dir)
    with open(dataset_dir / "captions.jsonl", "a") as stream:
        stream.write('{"file_name": "0001.png", "prompt": "char_x, by hand"}\n')
    done = caption_missing(stale, OllamaCaptioner(Ollama("llava", ollama.host)))
    assert done.written == () and done.dataset.items[0].caption == "char_x, by hand"


@pytest.mark.parametrize(
    ("status", "said"), [(404, "not installed"), (500, "error 500")]
)  # fmt: skip
def test_a_service_that_refuses_is_a_clear_problem(dataset_dir, ollama, status, said):
    ollama.status = status
    uncaption(dataset_dir)
    with pytest.raises(Unavailable, match=said):
        caption_missing(read_dataset(dataset_dir), OllamaCaptioner(Ollama("llava", ollama.host)))


def test_a_service_that_is_not_there_is_a_clear_problem(dataset_dir):
    uncaption(dataset_dir)
    with pytest.raises(Unavailable, match="No Ollama answers") as caught:
        caption_missing(
            read_dataset(dataset_dir), OllamaCaptioner(Ollama("llava", "http://127.0.0.1:9", timeout_s=2))
        )
    assert "ollama serve" in caught.value.fix
    with pytest.raises(InvalidInput):
        Ollama("llava", "file:///etc/passwd").ask("x")


def test_what_was_described_before_a_stop_is_kept(dataset_dir, ollama):
    for number in (1, 2, 3):
        uncaption(dataset_dir, f"{number:04d}.png")
    done = caption_missing(
        read_dataset(dataset_dir), OllamaCaptioner(Ollama("llava", ollama.host)), should_stop=lambda: True
    )
    assert done.written == ("0001.png",) and len(done.notes) == 2


def test_a_polished_prompt_keeps_the_trigger_first_and_the_caption_true(ollama):
    plain = build_character(load_options(), choices={"pose": "kneeling"}, seed=0, trigger="char_x")
    ollama.answer = "A figure, char_x,\nkneels in the (grass:1.2)."
    polished, note = polish(plain, Ollama("llama", ollama.host))
    assert polished.prompt.startswith("char_x, A figure") and polished.prompt.count("char_x") == 1
    assert "\n" not in polished.prompt and ":1.2" not in polished.prompt
    assert polished.caption == plain.caption and "Polished" in note


def test_without_a_service_the_plain_prompt_is_used_and_said_so():
    plain = build_character(load_options(), choices={"pose": "kneeling"}, seed=0, trigger="char_x")
    same, note = polish(plain, Ollama("llama", "http://127.0.0.1:9", timeout_s=2))
    assert same == plain and "not polished" in note


@pytest.mark.torch
def test_a_local_blip_folder_describes_pictures(dataset_dir, tmp_path):
    import torch
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hat", "red", "face", "smile", "a", "the", "of"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BlipConfig(
        text_config={**small, "vocab_size": len(words), "encoder_hidden_size": 32, "bos_token_id": 2, "eos_token_id": 3,
                     "sep_token_id": 3, "pad_token_id": 0},
        vision_config={**small, "image_size": 32, "patch_size": 16}, projection_dim=32, image_text_hidden_size=32,
    )  # fmt: skip
    BlipForConditionalGeneration(config).save_pretrained(tmp_path)
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    uncaption(dataset_dir)
    done = caption_missing(read_dataset(dataset_dir), LocalModelCaptioner(tmp_path))
    assert done.written == ("0001.png",)
    said = done.dataset.items[0].caption.removeprefix("char_x, ").replace(",", "").split()
    assert said and set(said) <= set(words)


def test_a_local_tagger_names_the_tags_above_its_threshold(dataset_dir, tmp_path):
    make_tagger(tmp_path)
    uncaption(dataset_dir)
    done = caption_missing(read_dataset(dataset_dir), LocalModelCaptioner(tmp_path))
    tags = done.dataset.items[0].caption.split(", ")
    assert tags[0] == "char_x" and sorted(tags[1:]) == ["outdoors", "red hat"]


def test_captioners_are_named_by_their_folders_in_the_workspace(tmp_path):
    workspace = Workspace.at(tmp_path)
    assert local_captioners(workspace) == []
    make_tagger(tmp_path / "captioners" / "mine")
    assert local_captioners(workspace) == ["mine"]
    assert captioner_named(workspace, "mine").name == "local:mine"
    assert captioner_named(workspace, "ollama", ollama_model="llava").name == "ollama:llava"
    with pytest.raises(NotFound):
        captioner_named(workspace, "../mine")
    with pytest.raises(InvalidInput):
        captioner_named(workspace, "ollama")


def test_a_folder_without_a_model_is_a_clear_problem(dataset_dir, tmp_path):
    uncaption(dataset_dir)
    with pytest.raises(NotFound):
        caption_missing(read_dataset(dataset_dir), LocalModelCaptioner(tmp_path / "nothing"))
    with pytest.raises(Unavailable, match="failed") as caught:
        caption_missing(read_dataset(dataset_dir), LocalModelCaptioner(tmp_path))
    assert "BLIP" in caught.value.fix
