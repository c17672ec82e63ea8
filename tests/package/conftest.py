"""A finished run on disk, as an engine leaves it: plan, events, a LoRA with kohya's keys, and its dataset."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from kohya_bridge.events import EventLog
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingRequest, make_plan
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.validation.cells import Checkpoint, Prompt, plan_cells
from kohya_bridge.validation.manifest import Sampling
from kohya_bridge.validation.measures import measure_grid
from kohya_bridge.validation.save import save_grid
from kohya_bridge.workspace import Workspace

METADATA = """\
license: CC0-1.0
source: Drawn for this test, by nobody.
release_approved: true
character: A knight with green hair.
credit: The Atelier
rating: sfw
lora_tag: char_alice
"""
LORA_METADATA = {
    "ss_base_model_version": "sd_v1",
    "ss_network_dim": "4",
    "ss_network_alpha": "2.0",
    "ss_sd_model_name": "/home/somebody/models/base.safetensors",
    "ss_training_comment": r"trained on C:\Users\Some Body\pictures by hand",
    "ss_dataset_dirs": '{"/mnt/secret/10_alice": {"n_repeats": 10, "img_count": 20}}',
    "ss_tag_frequency": '{"10_alice": {"char_alice": 20, "and/or": 3}}',
    "foreign.key": "is not kept",
}


@dataclass(frozen=True)
class FinishedRun:
    """A run with checkpoints at 400 and 800, of which 800 is the best."""

    run: RunFolder
    workspace: Workspace
    lora_dir: object

    @property
    def dataset_metadata(self):
        return self.workspace.dataset_dir("alice") / "metadata.yaml"


def lora_tensors(seed, *, rank=4):
    rng = np.random.default_rng(seed)
    tensors = {}
    for block, (out_width, in_width) in {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (32, 32),
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (32, 16),
    }.items():
        tensors[f"{block}.lora_down.weight"] = rng.standard_normal((rank, in_width)).astype(np.float16)
        tensors[f"{block}.lora_up.weight"] = rng.standard_normal((out_width, rank)).astype(np.float16)
        tensors[f"{block}.alpha"] = np.array(2.0, dtype=np.float16)
    return tensors


def write_checkpoint(run, log, step, tensors, metadata=None):
    temporary = run.checkpoints_dir / "new.safetensors"
    run.checkpoints_dir.mkdir(parents=True, exist_ok=True)
    save_file(tensors, temporary, metadata or LORA_METADATA)
    sha256 = hashlib.sha256(temporary.read_bytes()).hexdigest()
    file = run.checkpoints_dir / f"alice-step{step:08d}-{sha256[:8]}.safetensors"
    temporary.rename(file)
    name = f"checkpoints/{file.name}"
    log.write("checkpoint", step=step, file=name, sha256=sha256, bytes=file.stat().st_size, final=step == 800)
    return name, sha256


@pytest.fixture
def finished(tmp_path):
    workspace = Workspace.at(tmp_path / "training")
    dataset_dir = workspace.dataset_dir("alice")
    dataset_dir.mkdir(parents=True)
    (dataset_dir / "metadata.yaml").write_text(METADATA)
    plan = make_plan(
        TrainingRequest(
            dataset="alice",
            base_model="base.safetensors",
            settings={"max_train_steps": 800, "mixed_precision": "bf16"},
        ),
        dataset=DatasetFacts(slug="alice", digest="d" * 64, images=30, trigger="char_alice"),
        base_model=BaseModelFacts(name="base.safetensors", sha256="b" * 64, family="sd15"),
        engine="native",
        engine_version="1",
    )
    run = RunFolder(workspace.run_dir("alice", plan.run_id))
    run.dir.mkdir(parents=True)
    run.plan_file.write_text(plan.to_yaml())
    ticks = iter(range(1_700_000_000, 1_800_000_000, 60))
    log = EventLog(run.events_file, clock=lambda: next(ticks))
    log.write("run_started", attempt=1, engine="native", pid=1, total=800, resumed_from=0)
    for step in (400, 800):
        log.write(
            "progress",
            step=step,
            total=800,
            epoch=1,
            loss=0.1,
            loss_ema=0.1,
            lr={"unet": 1e-4},
            seconds_per_step=0.5,
        )
        log.write(
            "validation",
            step=step,
            loss=0.2 - step / 10000,
            loss_low=0.1,
            loss_high=0.3,
            psnr=21.5,
            train_loss=0.11,
            items=3,
        )
        name, _ = write_checkpoint(run, log, step, lora_tensors(step))
    log.write("best", step=800, file=name, reason="Lowest held-out loss, 0.12000.")
    log.write("run_finished", outcome="completed", step=800, problem="", fix="", evidence="")
    log.close()
    return FinishedRun(run, workspace, tmp_path / "models" / "loras")


@pytest.fixture
def validated(finished):
    """The same run with a rendered grid, whose pictures come closest to the held-out one at strength 0.7."""
    row = finished.run.checkpoint("best")
    checkpoint = Checkpoint(row["step"], row["file"], row["sha256"])
    plan = plan_cells(
        checkpoints=(checkpoint,),
        prompts=(Prompt("char_alice, portrait"),),
        strengths=(0.7, 1.0),
        seeds=(1, 2, 3),
    )
    noise = lambda seed: Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    )
    closeness = {0: 0.0, 0.7: 0.35, 1.0: 0.1}
    pictures = {
        each.key: Image.blend(noise(each.seed), noise(99), closeness[each.strength]) for each in plan.renders
    }
    save_grid(
        finished.workspace.validation_dir("alice", finished.run.run_id),
        plan,
        pictures,
        slug="alice",
        run_id=finished.run.run_id,
        sampling=Sampling(
            sampler="euler",
            scheduler="normal",
            steps=4,
            cfg=7,
            width=64,
            height=64,
            base_model="base.safetensors",
        ),
        measures=measure_grid(plan, pictures, held_out=[noise(99)]),
        texts={"prompt": '{"1": {"inputs": {"path": "/home/somebody/x.png"}}}'},
    )
    return finished
