"""From a trained run to a packaged LoRA and back without ComfyUI: real training, real rendering, the same tensors again."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from kohya_bridge.dataset import dataset_digest, read_dataset
from kohya_bridge.engines.contract import write_child_file
from kohya_bridge.errors import InvalidInput
from kohya_bridge.package import package_lora
from kohya_bridge.package.recipe import compare_tensors, read_recipe
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.validation.asked_grid import choose_checkpoints
from kohya_bridge.validation.cells import Prompt, plan_cells
from kohya_bridge.validation.likeness import difference
from kohya_bridge.validation.manifest import Sampling
from kohya_bridge.validation.renderer import RenderingFailed, check_sampling, render_grid
from kohya_bridge.validation.validate import validate_run
from kohya_bridge.workspace import PACK_ROOT, Workspace, file_sha256
from tests.forks import Forked
from tests.native_world import World, finish, make_base, make_dataset, tokenizer_dir

pytestmark = pytest.mark.torch

SAMPLING = Sampling(
    sampler="ddim",
    scheduler="normal",
    steps=3,
    cfg=4.0,
    width=64,
    height=64,
    base_model="tiny",
    renderer="diffusers",
)


class Trained:
    """A run of twelve steps on a tiny base model, in a workspace of its own."""

    def __init__(self, root):
        self.workspace = Workspace.at(root / "training")
        dataset_dir = make_dataset(self.workspace.dataset_dir("dot"))
        (dataset_dir / "metadata.yaml").write_text(
            "licence: CC0-1.0\nsource: Drawn by a test.\nrelease_approved: true\nlora_tag: char_dot\n"
        )
        self.world = World(
            self.workspace.root, make_base(root / "base"), dataset_dir, self.workspace.cache_dir
        )
        plan = self.world.plan()
        digest = dataset_digest(read_dataset(dataset_dir))
        plan = plan.model_copy(update={"dataset": plan.dataset.model_copy(update={"digest": digest})})
        self.run = self.train(plan, "dot")

    def train(self, plan, slug):
        run = RunFolder(self.workspace.run_dir(slug, plan.run_id))
        run.dir.mkdir(parents=True)
        run.plan_file.write_text(plan.to_yaml(), encoding="utf-8")
        write_child_file(run, plan, self.world.paths(), resume=None)
        assert finish(run) == 0, run.log_tail()
        return run

    def validate(self, **options):
        return validate_run(
            self.run,
            paths=self.world.paths(),
            **{"sampling": SAMPLING, "checkpoints": "all", "strengths": (1.0,), **options},
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def judged(trained):
    told = []
    return trained.validate(on_progress=lambda done, total: told.append((done, total))), told


def pictures_of(result, **wanted):
    folder = result.saved.manifest_file.parent
    found = {}
    for cell in result.saved.manifest.cells:
        facts = {"seed": cell.seed, "step": cell.lora.step if cell.lora else 0}
        if all(facts[name] == value for name, value in wanted.items()):
            found[cell.prompt, cell.seed, facts["step"]] = Image.open(folder / cell.picture.file).convert(
                "RGB"
            )
    return found


def test_every_checkpoint_is_rendered_beside_the_base_and_the_lora_changes_the_picture(judged):
    result, told = judged
    assert told[-1] == (16, 16)
    base, last = pictures_of(result, seed=1, step=0), pictures_of(result, seed=1, step=12)
    assert len(base) == len(last) == 2
    for (prompt, seed, _), picture in last.items():
        assert difference(picture, base[prompt, seed, 0]) > 0.002


def test_the_prompts_are_captions_of_held_out_pictures_and_the_report_says_what_was_measured(judged, trained):
    result, _ = judged
    assert all(cell.prompt.startswith("char_dot, ") for cell in result.saved.manifest.cells)
    assert (
        "Measured with: difference, psnr_db, nearest_training, held_out_similarity, diversity"
        in result.report
    )
    assert result.saved.manifest.cells[0].sampling.renderer == "diffusers"


def test_rendering_again_takes_what_is_there_and_gives_the_same_grid(judged, trained):
    result, _ = judged
    again = trained.validate(on_progress=lambda done, total: pytest.fail("it was rendered before"))
    assert again.saved.picture.tobytes() == result.saved.picture.tobytes()
    assert again.saved.manifest == result.saved.manifest


def render_directly(trained, folder, renders):
    folder.mkdir()
    job = {
        "base_model_file": str(trained.world.base), "tokenizer_dir": str(tokenizer_dir()), "family": "sd15",
        "mixed_precision": "no", "clip_skip": 1, "max_token_length": 75, "out_dir": str(folder),
        **SAMPLING.model_dump(include={"sampler", "scheduler", "steps", "cfg", "width", "height"}),
        "renders": renders,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))
    child = Forked(
        "kohya_bridge.engines.native.render",
        [str(folder / "job.json")],
        cwd=PACK_ROOT,
        env=os.environ,
        log=folder / "log",
    )
    return child.wait(120), (folder / "log").read_text()


def test_taking_a_lora_off_leaves_the_base_model_as_it_was_to_the_pixel(trained, tmp_path):
    lora = str(trained.run.dir / trained.run.checkpoint("latest")["file"])
    one = {"prompt": "char_dot", "negative": "", "seed": 5}
    renders = [
        {**one, "key": "before", "strength": 0, "lora_file": None},
        {**one, "key": "worn", "strength": 1.0, "lora_file": lora},
        {**one, "key": "after", "strength": 0, "lora_file": None},
    ]
    code, said = render_directly(trained, tmp_path / "out", renders)
    assert code == 0, said
    before, worn, after = (
        np.asarray(Image.open(tmp_path / "out" / f"{name}.png")) for name in ("before", "worn", "after")
    )
    assert np.array_equal(before, after) and not np.array_equal(before, worn)


def test_a_lora_of_another_model_is_refused_by_the_number_of_modules_that_do_not_fit(trained, tmp_path):
    names = ("lora_down.weight", "lora_up.weight", "alpha")
    shapes = ((4, 32), (32, 4), ())
    foreign = {
        f"lora_unet_elsewhere.{name}": np.zeros(shape, "f4")
        for name, shape in zip(names, shapes, strict=True)
    }
    save_file(foreign, tmp_path / "foreign.safetensors")
    render = {"prompt": "x", "negative": "", "seed": 5, "key": "x", "strength": 1.0}
    code, said = render_directly(
        trained, tmp_path / "out", [{**render, "lora_file": str(tmp_path / "foreign.safetensors")}]
    )
    assert code == 1
    assert "1 of 1 module of foreign.safetensors has no place" in json.loads(said.splitlines()[-1])["problem"]


def test_what_the_renderer_says_reaches_the_caller_as_problem_and_fix(trained, tmp_path, judged):
    grid = plan_cells(checkpoints=choose_checkpoints(trained.run, "best"), prompts=(Prompt("x"),))
    with pytest.raises(RenderingFailed, match="nothing-here"):
        render_grid(
            trained.run,
            grid,
            sampling=SAMPLING,
            paths=replace(trained.world.paths(), base_model_file=tmp_path / "nothing-here.safetensors"),
            folder=tmp_path / "folder",
        )


def test_samplers_and_sizes_that_cannot_be_are_all_named_before_anything_is_loaded():
    with pytest.raises(InvalidInput) as caught:
        check_sampling(
            SAMPLING.model_copy(update={"sampler": "magic", "scheduler": "odd", "width": 65, "steps": 0})
        )
    assert [each.field for each in caught.value.problems] == ["sampler", "scheduler", "width", "steps"]


@pytest.mark.parametrize("words", ["newest", ""])
def test_words_that_name_no_checkpoint_are_refused(trained, words):
    with pytest.raises(InvalidInput, match="best, latest, all"):
        choose_checkpoints(trained.run, words)


def test_a_lora_that_is_packaged_says_how_and_trains_again_to_the_same_tensors(trained, judged, tmp_path):
    made = package_lora(trained.run, "latest", lora_dir=tmp_path / "loras")
    recipe = read_recipe(made.file)
    assert recipe.plan == trained.run.plan() and made.sha256 == file_sha256(made.file)
    again = trained.train(recipe.plan, "again")
    remade = again.dir / again.checkpoint(recipe.step)["file"]
    assert compare_tensors(recipe, remade).startswith("Identical")
