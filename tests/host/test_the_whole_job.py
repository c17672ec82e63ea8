"""From a prompt in the canvas to a LoRA in the loader: the shipped example workflow in a real ComfyUI, over HTTP."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.host.comfy_client import outcome
from tests.host.canvas import JOB_STEPS, changed, example, id_of, newest_run, plain_render, said

pytestmark = pytest.mark.host


def picture(comfy, history):
    """The first picture that a prompt saved, as numbers. Pixels, not files: the prompt stands in the PNG."""
    (saved,) = [
        each
        for output in history["outputs"].values()
        for each in output.get("images", ())
        if each["type"] == "output"
    ]
    query = {key: saved[key] for key in ("filename", "subfolder", "type")}
    return np.asarray(
        Image.open(io.BytesIO(comfy.client.get_bytes("view", **query))).convert("RGB"), dtype=np.int16
    )


def rendered(comfy, prompt):
    history = comfy.client.run(prompt)
    assert outcome(history) == "success", comfy.log_tail(60)
    return picture(comfy, history)


def test_every_node_of_the_example_ran(job):
    """What other tests queued alike before may come from ComfyUI's cache; training and all behind it may not."""
    ran = {data["node"] for kind, data in job.events if kind == "executing" and data.get("node")}
    cached = {node for kind, data in job.events if kind == "execution_cached" for node in data["nodes"]}
    assert ran | cached == set(job.prompt)
    assert {job.prompt[node]["class_type"] for node in ran} >= {
        "WizdroidKohyaTrain",
        "WizdroidLoraValidateGrid",
        "WizdroidPackageLora",
        "WizdroidLoadTrainedLora",
        "KSampler",
        "VAEDecode",
        "SaveImage",
    }


def test_the_run_trained_all_its_steps_and_left_a_final_lora(job):
    state = job.run.state()
    assert (state.status, state.step) == ("completed", JOB_STEPS)
    assert state.checkpoints[-1]["final"]
    assert (job.run.dir / state.checkpoints[-1]["file"]).is_file()


def test_the_node_showed_the_steps_on_its_progress_bar(job):
    node = id_of(job.prompt, "WizdroidKohyaTrain")
    values = [data["value"] for kind, data in job.events if kind == "progress" and data["node"] == node]
    assert max(values) == JOB_STEPS
    assert values == sorted(values)


def test_the_builder_wrote_its_prompt_into_the_characters_log(comfy, job):
    rows = (comfy.workspace_dir / "kohya" / "prompts" / "char_wren.jsonl").read_text("utf-8").splitlines()
    assert json.loads(rows[-1])["trigger"] == "char_wren"


def test_the_lora_stands_in_comfyuis_list_and_its_card_beside_it(comfy, job):
    assert job.lora_name in comfy.client.get("models/loras")
    file = comfy.loras_dir / job.lora_name
    assert file.with_name(f"{file.stem}.model-card.md").is_file()


def test_nothing_that_is_given_away_names_a_folder_of_this_machine(comfy, job):
    beside = (comfy.loras_dir / job.lora_name).parent
    given = [
        file for folder in (beside, job.run.dir / "package") for file in folder.rglob("*") if file.is_file()
    ]
    assert len(given) >= 5
    for file in given:
        data = file.read_bytes()
        assert str(comfy.base_dir).encode() not in data and str(Path.home()).encode() + b"/" not in data, file


def test_not_one_key_of_the_lora_was_left_unloaded(job):
    assert "lora key not loaded" not in job.log
    assert "ERROR lora" not in job.log
    assert "NOT LOADED" not in job.log


def test_grid_and_manifest_lie_in_the_validations_folder(comfy, job):
    folder = comfy.workspace_dir / "validations" / "wren" / job.run.run_id
    manifest = json.loads((folder / "validation_manifest.json").read_text("utf-8"))
    assert {cell["strength"] for cell in manifest["cells"]} == {0, 1}
    assert len(manifest["cells"]) == 4  # two seeds, with and without the LoRA
    assert (folder / manifest["grids"][0]["picture"]["file"]).is_file()


def test_the_grids_baseline_is_the_stock_samplers_picture_and_the_lora_changes_it(comfy, job):
    folder = comfy.workspace_dir / "validations" / "wren" / job.run.run_id
    cells = json.loads((folder / "validation_manifest.json").read_text("utf-8"))["cells"]
    base, changed_cell = (
        next(cell for cell in cells if cell["seed"] == 1 and cell["strength"] == strength)
        for strength in (0, 1)
    )
    stock = plain_render(seed=1, text=base["prompt"])
    changed(stock, "CLIPTextEncode", text=base["prompt"])
    stock["3"]["inputs"]["text"] = base["negative"]
    pixels = rendered(comfy, stock)
    cell = np.asarray(Image.open(folder / base["picture"]["file"]).convert("RGB"), dtype=np.int16)
    assert np.array_equal(pixels, cell)
    assert changed_cell["metrics"]["difference"] > 0.002


def test_strength_0_is_pixel_equal_to_no_lora_and_strength_1_is_not(comfy, job):
    def wearing(strength):
        inputs = {
            "package": job.lora_name,
            "which": "best",
            "step": 0,
            "strength_model": strength,
            "strength_clip": strength,
        }
        return plain_render(wearing={"class_type": "WizdroidLoadTrainedLora", "inputs": inputs})

    bare = rendered(comfy, plain_render())
    assert np.array_equal(rendered(comfy, wearing(0.0)), bare)
    assert np.abs(rendered(comfy, wearing(1.0)) - bare).mean() > 0.5


def test_our_loader_and_the_stock_loader_give_the_same_picture(comfy, job):
    strengths = {"strength_model": 1.0, "strength_clip": 1.0}
    ours = {
        "class_type": "WizdroidLoadTrainedLora",
        "inputs": {"package": job.lora_name, "which": "best", "step": 0},
    }
    stock = {"class_type": "LoraLoader", "inputs": {"lora_name": job.lora_name}}
    for node in (ours, stock):
        node["inputs"] |= strengths
    assert np.array_equal(
        rendered(comfy, plain_render(wearing=ours)), rendered(comfy, plain_render(wearing=stock))
    )


def test_queueing_the_same_canvas_again_serves_everything_from_the_cache(comfy, job):
    assert (
        outcome(comfy.client.run(job.prompt)) == "success"
    )  # ComfyUI keeps the outputs of the last prompt only
    before = job.run.events_file.read_bytes()
    events = []
    history = comfy.client.follow(job.prompt, lambda kind, data: events.append((kind, data)))
    assert outcome(history) == "success"
    assert [data["node"] for kind, data in events if kind == "executing" and data.get("node")] == []
    assert job.run.events_file.read_bytes() == before


def test_the_same_choices_on_another_node_return_the_same_run_without_training(comfy, job):
    """A different node has nothing in ComfyUI's cache, so Kohya Train itself must find the finished run."""
    other = {str(100 + int(name)): json.loads(json.dumps(node)) for name, node in job.prompt.items()}
    for node in other.values():
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][key] = [str(100 + int(value[0])), value[1]]
    attempts = job.run.state().attempt
    history = comfy.client.run(other)
    assert outcome(history) == "success"
    assert newest_run(comfy, "wren").run_id == job.run.run_id
    assert job.run.state().attempt == attempts


@pytest.mark.parametrize("name", ["use_a_trained_lora", "use_with_the_stock_loader", "validate_a_run"])
def test_every_other_example_workflow_runs_on_the_finished_run(comfy, job, name):
    prompt = example(name)
    changed(prompt, "WizdroidTrainingRun", run_name=f"wren/{job.run.run_id}")
    changed(prompt, "EmptyLatentImage", width=64, height=64)
    changed(prompt, "KSampler", steps=2)
    changed(prompt, "WizdroidLoraValidateGrid", width=64, height=64, steps=2)
    already = len(comfy.log())
    history = comfy.client.run(prompt)
    assert outcome(history) == "success", comfy.log_tail(60)
    assert "lora key not loaded" not in comfy.log()[already:]


def test_the_package_node_makes_on_request_what_others_need(comfy, job):
    prompt = example("use_with_the_stock_loader")
    changed(prompt, "WizdroidTrainingRun", run_name=f"wren/{job.run.run_id}")
    changed(prompt, "WizdroidPackageLora", author="The Atelier", hub_folder=True, civitai_zip=True)
    changed(prompt, "EmptyLatentImage", width=64, height=64)
    changed(prompt, "KSampler", steps=2)
    history = comfy.client.run(prompt)
    assert outcome(history) == "success", comfy.log_tail(60)
    name, *made = said(history, prompt, "WizdroidPackageLora").splitlines()
    assert comfy.client.get("view_metadata/loras", filename=name)["modelspec.author"] == "The Atelier"
    assert sorted(Path(line).suffix or Path(line).name for line in made[1:]) == [".zip", "huggingface"]
    assert (job.run.dir / "package" / Path(name).stem / "huggingface" / "README.md").is_file()


def test_a_replaced_package_is_read_anew_although_its_name_is_the_same(comfy, job):
    file = comfy.loras_dir / "swapped.safetensors"
    checkpoint = comfy.loras_dir / job.lora_name
    file.write_bytes(checkpoint.read_bytes())
    inputs = {"package": file.name, "which": "best", "step": 0, "strength_model": 1.0, "strength_clip": 1.0}
    prompt = plain_render(wearing={"class_type": "WizdroidLoadTrainedLora", "inputs": inputs})
    first = rendered(comfy, prompt)
    file.write_bytes(stronger(checkpoint))
    assert not np.array_equal(rendered(comfy, prompt), first)


def stronger(lora_file):
    """The same LoRA with its up matrices doubled."""
    from safetensors.numpy import load, save

    weights = load(lora_file.read_bytes())
    return save({name: value * 2 if "lora_up" in name else value for name, value in weights.items()})
