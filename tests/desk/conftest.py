"""What every test of the desk needs: a workspace with a dataset and a base model, both real files and small."""

from __future__ import annotations

import functools
import io
import json
import struct
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from PIL import Image

from kohya_bridge.desk import Desk
from kohya_bridge.forbidding import parse
from kohya_bridge.plan import TrainingRequest
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.stop_ladder import Rung
from kohya_bridge.workspace import Workspace
from tests.doubles.quick_engine import QuickEngine
from tests.known_pictures import known_pictures  # noqa: F401  a fixture
from tests.quick_forks import forked_starts  # noqa: F401  a fixture
from tests.waiting import wait_until

BASE = "small_sd15.safetensors"


@pytest.fixture
def workspace(tmp_path, known_pictures):  # noqa: F811
    workspace = Workspace.at(tmp_path / "training")
    make_dataset(workspace, "alice")
    write_base_model(tmp_path / "models" / "checkpoints" / BASE)
    return workspace


@pytest.fixture
def desk_with(workspace, tmp_path):
    """Makes desks on the test's workspace: `desk_with(QuickEngine(...))`. Trainers are ended when the test is over."""
    made = []

    def make(engine=None, **options):
        desk = Desk(
            workspace,
            checkpoint_dirs=[tmp_path / "models" / "checkpoints"],
            lora_dirs=[tmp_path / "models" / "loras"],
            tokenizer_dir=tmp_path / "models" / "tokenizer",
            engines={"native": engine or QuickEngine()},
            **options,
        )
        made.append(desk)
        return desk

    yield make
    for desk in made:
        desk.stop_watching()
    if made:
        end_everything(made[0])


@pytest.fixture
def desk(desk_with):
    return desk_with()


def end_everything(desk: Desk) -> None:
    for run_id in desk.queue():
        desk.stop(run_id)
    for run in desk.slot.open_attempts():
        desk.stop(run.run_id, rungs=[Rung("kill", 10)])
        desk.wait(run.run_id, poll_s=0.05)


def environment_of(run: RunFolder) -> dict[str, str]:
    """What the trainer of a run was started with. A process shows it from a moment after its start on, to a moment before its end."""

    def shown() -> dict[str, str] | None:
        identity = run.identity()
        if identity is None or identity.ended is not None:
            return None
        with suppress(psutil.Error):
            return psutil.Process(identity.pid).environ()
        return None

    return wait_until(shown)


def request(**changes) -> TrainingRequest:
    settings = {"max_train_steps": 12, "save_every_n_steps": 4, **changes.pop("settings", {})}
    values = {"dataset": "alice", "base_model": BASE, "settings": settings, **changes}
    return parse(TrainingRequest, values, what="the request")


def make_dataset(workspace: Workspace, slug: str, *, pictures: int = 3, size: int = 768) -> Path:
    folder = workspace.dataset_dir(slug)
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(pictures):
        name = f"{index + 1:04d}.png"
        (folder / "images" / name).write_bytes(_picture(index, size))
        rows.append({"file_name": name, "prompt": f"char_{slug}, portrait number {index}"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "captions.jsonl").write_text(lines, encoding="utf-8")
    (folder / "metadata.yaml").write_text(
        f"slug: {slug}\nlora_tag: char_{slug}\nlicence: CC0-1.0\nsource: drawn by this test\nrelease_approved: true\n",
        encoding="utf-8",
    )
    return folder


@functools.cache
def _picture(index: int, size: int) -> bytes:
    shade = 40 + 60 * index
    rings = Image.radial_gradient("L").resize((size, size)).point(lambda value: (value + shade) % 256)
    rings.convert("RGB").save(out := io.BytesIO(), "PNG", compress_level=1)
    return out.getvalue()


def write_base_model(file: Path, *, metadata: dict[str, str] | None = None) -> Path:
    """A checkpoint whose header says Stable Diffusion 1.x and whose weights are zeros: enough for all that asks the header."""
    shapes = {
        "model.diffusion_model.time_embed.0.weight": [16, 4],
        "model.diffusion_model.input_blocks.0.0.weight": [4, 4, 3, 3],
        "model.diffusion_model.input_blocks.1.0.in_layers.0.weight": [4],
        "model.diffusion_model.input_blocks.1.0.out_layers.3.weight": [4, 4, 3, 3],
        "model.diffusion_model.input_blocks.1.1.proj_in.weight": [4, 4, 1, 1],
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.norm1.weight": [4],
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [4, 768],
        "model.diffusion_model.output_blocks.0.0.in_layers.0.weight": [8],
        "model.diffusion_model.output_blocks.1.0.in_layers.0.weight": [8],
        "model.diffusion_model.out.2.weight": [4, 4, 3, 3],
        "first_stage_model.decoder.conv_in.weight": [4, 4, 3, 3],
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": [4, 4],
    }
    header: dict[str, object] = {"__metadata__": metadata or {}}
    offset = 0
    for name, shape in shapes.items():
        size = 2
        for each in shape:
            size *= each
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
    return file
