"""Settings that other programs wrote: presets of the GUI, TOMLs of sd-scripts, headers of LoRAs, and what only looks like them."""

from __future__ import annotations

import json

from safetensors.numpy import save_file

from kohya_bridge.cli import exit_codes
from tests.desk.conftest import BASE

from .trial import World, plain_lora, trial

GUI = {
    "LoRA_type": "Standard",
    "network_dim": 8,
    "network_alpha": 8,
    "learning_rate": 1e-4,
    "unet_lr": 1e-4,
    "text_encoder_lr": 0,
}


@trial("settings", "a GUI preset with fields of the GUI alone and of other LoRA types at their idle values")
def _(world: World) -> bool:
    world.adopt(
        "p.json",
        {
            **GUI,
            "factor": -1,
            "unit": 1,
            "noise_offset_type": "Original",
            "train_on_input": True,
            "sdxl_no_half_vae": True,
        },
    )
    return world.tells("factor", "unit") and world.plans_natively()


@trial("settings", "an sd-scripts TOML that names the rank alone gets the origin's defaults")
def _(world: World) -> bool:
    world.adopt("t.toml", "network_dim = 32\nnetwork_module = 'networks.lora'\n")
    has = world.config()["settings"]
    return (has["network_alpha"], has["train_batch_size"], has["min_snr_gamma"]) == (1.0, 1, 0.0) and not has[
        "network_train_unet_only"
    ]


@trial("settings", "the same in sections, as the GUI exports it")
def _(world: World) -> bool:
    world.adopt(
        "t.toml",
        "[network]\nnetwork_dim = 4\nnetwork_module = 'networks.lora'\n[optimizer]\nunet_lr = 2e-4\n",
    )
    return (world.config()["settings"]["network_dim"], world.config()["settings"]["unet_lr"]) == (4, 2e-4)


@trial("settings", "optimizer_args written as one text")
def _(world: World) -> bool:
    world.adopt("t.toml", "network_module = 'networks.lora'\noptimizer_args = 'weight_decay=0.1'\n")
    return bool(world.config()["settings"]["optimizer_args"] == {"weight_decay": 0.1})


@trial("settings", "a LoHa preset keeps its own numbers")
def _(world: World) -> bool:
    world.adopt(
        "p.json", {**GUI, "LoRA_type": "LyCORIS/LoHa", "conv_dim": 4, "conv_alpha": 1, "use_cp": True}
    )
    return world.tells("conv_dim") or "conv_dim" in json.dumps(world.config())


@trial("settings", "a resolution written 512x512, and an empty one")
def _(world: World) -> bool:
    world.adopt("p.json", {**GUI, "max_resolution": "512x512"})
    first = world.config()["settings"]["resolution"]
    return first == 512 and world.adopt("q.json", {**GUI, "max_resolution": ""}).code in (
        exit_codes.DONE,
        exit_codes.CONFLICT,
    )


@trial("settings", "a batch size of 'auto' is said, not crashed on")
def _(world: World) -> bool:
    return world.adopt("p.json", {**GUI, "train_batch_size": "auto"}).tells("train_batch_size")


@trial("settings", "a rate with a comma")
def _(world: World) -> bool:
    return world.adopt("p.json", {**GUI, "unet_lr": "0,0001"}).tells("unet_lr")


@trial("settings", "a Windows path in double quotes in a TOML")
def _(world: World) -> bool:
    return world.adopt("t.toml", 'pretrained_model_name_or_path = "C:\\Users\\me\\m.safetensors"\n').tells(
        "single quotes"
    )


@trial("settings", "an unclosed quote")
def _(world: World) -> bool:
    return world.adopt("t.toml", "network_dim = 8\noutput_name = 'zed\n").code == exit_codes.INVALID_INPUT


@trial("settings", "a dataset TOML is called what it is")
def _(world: World) -> bool:
    return world.adopt(
        "d.toml", "[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = 'x'\n"
    ).tells("dataset")


@trial("settings", "a workflow of ComfyUI is called what it is")
def _(world: World) -> bool:
    return world.adopt(
        "w.json", {"last_node_id": 3, "nodes": [{"id": 1, "type": "KSampler"}], "links": []}
    ).tells("ComfyUI")


@trial("settings", "a config of ai-toolkit is called what it is")
def _(world: World) -> bool:
    return world.adopt(
        "a.json", {"job": "extension", "config": {"name": "x", "process": [{"type": "sd_trainer"}]}}
    ).tells("ai-toolkit")


@trial("settings", "a LoRA's header with the rates as sd-scripts writes them in lists")
def _(world: World) -> bool:
    file = world.root / "theirs" / "l.safetensors"
    world.pictures("made", 3)
    world.bring(folder="made")
    told = {
        "ss_text_encoder_lr": "[5e-05]",
        "ss_unet_lr": "1e-4",
        "ss_network_dim": "8",
        "ss_network_alpha": "4",
        "ss_network_module": "networks.lora",
    }
    save_file(plain_lora(), file, told)
    world.do("adopt", file, "--dataset", "zed", "--base-model", BASE, "--name", "theirs")
    return world.code == exit_codes.DONE and world.config()["settings"]["text_encoder_lr"] == 5e-5


@trial("settings", "malformed JSON within a LoRA's header")
def _(world: World) -> bool:
    file = world.root / "theirs" / "l.safetensors"
    file.parent.mkdir()
    save_file(
        plain_lora(), file, {"ss_network_args": "{'a': 1", "ss_bucket_info": "{{{", "ss_network_dim": "8"}
    )
    world.do("adopt", file, "--dataset", "zed", "--base-model", BASE, "--name", "-")
    return world.code != exit_codes.UNEXPECTED
