"""A Z-Image of small size trained in the child through ComfyUI's own models: resumed exactly, loaded by ComfyUI, and better for it."""

import copy
import json
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest

from kohya_bridge.architectures import architecture
from kohya_bridge.engines.contract import MachinePaths, write_child_file
from kohya_bridge.errors import Unavailable
from kohya_bridge.models.comfy_folders import host_name, knows
from kohya_bridge.models.lora_facts import check_lora, read_lora_facts
from kohya_bridge.models.places import IMPORTS_KEY
from kohya_bridge.package import package_lora
from kohya_bridge.plan import TrainingPlan
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.validation.manifest import Sampling
from kohya_bridge.validation.renderer import RenderingFailed
from kohya_bridge.validation.validate import validate_run
from kohya_bridge.workspace import Workspace
from scripts.host.launch import CPU_TORCHVISION
from tests.host.canvas import REDUCED_MODELS
from tests.native_world import SETTINGS, events, make_dataset

pytestmark = pytest.mark.host

FAMILY = "zimage"


class HostWorld:
    """A reduced base with its encoders, pictures, and runs of them."""

    def __init__(self, hosted, folder, *, family=FAMILY, model=FAMILY):
        self.hosted, self.root, self.family = hosted, folder, family
        self.files = hosted.case(
            "write_files", folder=str(folder / "models"), family=model, architecture=family
        )
        self.dataset = make_dataset(folder / "dot")
        for number, row in enumerate(rows := (self.dataset / "captions.jsonl").read_text().splitlines()):
            if number % 2:  # captions of two lengths share a batch
                rows[number] = json.dumps({**json.loads(row), "prompt": "char_dot (a:1.5)"})
        (self.dataset / "captions.jsonl").write_text("\n".join(rows) + "\n")

    @property
    def imports(self) -> str:
        """What a Python of the tests lacks for this ComfyUI."""
        torchvision = self.hosted.install.torchvision_dir
        return os.pathsep.join(map(str, [CPU_TORCHVISION, torchvision])) if torchvision else ""

    def plan(self, **settings) -> TrainingPlan:
        values = {**SETTINGS, "min_snr_gamma": 0.0, "unet_lr": 2e-2, "network_dim": 2, "network_alpha": 2.0}
        return TrainingPlan.model_validate(
            {
                "character": "dot",
                "dataset": {"slug": "dot", "digest": "d" * 64, "images": 8, "trigger": "char_dot"},
                "base_model": {"name": "small", "sha256": "a" * 64, "family": self.family},
                "engine": "native",
                "engine_version": "1",
                "host": host_name(self.hosted.install.dir),
                "settings": {**values, **settings},
            }
        )

    def paths(self, **loras: str) -> MachinePaths:
        extra = {name: file for name, file in self.files.items() if name != "base"} | loras
        return MachinePaths(
            base_model_file=self.files["base"],
            dataset_dir=self.dataset,
            cache_dir=self.root / "cache",
            tokenizer_dir=self.hosted.install.dir / "comfy" / "sd1_tokenizer",
            extra={**extra, "comfyui_dir": str(self.hosted.install.dir), IMPORTS_KEY: self.imports},
        )

    def run(self, plan: TrainingPlan, name: str, **loras: str) -> RunFolder:
        run = RunFolder(self.root / "runs" / name / plan.run_id)
        run.dir.mkdir(parents=True)
        run.plan_file.write_text(plan.to_yaml(), encoding="utf-8")
        write_child_file(run, plan, self.paths(**loras), resume=None)
        return run

    def finish(self, run: RunFolder) -> RunFolder:
        code = self.hosted.wait(self.hosted.start(run))
        assert code == 0, run.log_tail()
        return run

    def kill_at(self, run: RunFolder, step: int) -> None:
        """SIGKILL once that step is told, then say where to go on."""
        pid, deadline = self.hosted.start(run), time.monotonic() + 120
        while run.state().step < step:
            assert time.monotonic() < deadline, run.log_tail()
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        self.hosted.wait(pid)
        write_child_file(run, run.plan(), self.paths(), resume=run.latest_state()[1])


@pytest.fixture(scope="module")
def world(hosted, tmp_path_factory):
    return HostWorld(hosted, tmp_path_factory.mktemp("host_runs"))


@pytest.fixture(scope="module")
def straight(world):
    return world.finish(world.run(world.plan(gradient_checkpointing=True), "straight"))


def test_a_run_that_was_killed_ends_with_the_bytes_of_one_that_was_not(world, straight):
    killed = world.run(world.plan(gradient_checkpointing=True), "killed")
    world.kill_at(killed, 6)
    world.finish(killed)
    one, two = straight.checkpoint("latest"), killed.checkpoint("latest")
    assert one["file"] == two["file"]
    assert (straight.dir / one["file"]).read_bytes() == (killed.dir / two["file"]).read_bytes()
    assert straight.state().losses == killed.state().losses


def test_the_held_out_loss_falls(straight):
    measured = [row["loss"] for row in straight.state().validations]
    assert len(measured) == 4 and measured[-1] < 0.97 * measured[0]


def test_comfyui_loads_the_file_without_an_unknown_key_and_says_what_the_trainer_said(
    hosted, world, straight
):
    file = straight.dir / straight.checkpoint("latest")["file"]
    assert check_lora(file, step=12) == ()
    facts = read_lora_facts(file)
    assert facts.modules[0].startswith("diffusion_model.") and facts.rank == 2
    found = hosted.case("drawn_with", file=world.files["base"], lora=str(file))
    assert found["unknown"] == [] and found["patches"] == found["modules"] == len(facts.modules)
    assert found["difference"] < 1e-5 < found["moved"], found


def test_the_run_says_which_comfyui_it_was_and_that_its_gradients_were_checked(world, straight):
    told = json.loads((straight.dir / "environment.json").read_text())
    assert told["comfyui"] == straight.plan().host
    (kept,) = (world.root / "cache" / "gradients").glob("*.json")
    verdict = json.loads(kept.read_text())
    assert verdict["family"] == FAMILY and verdict["verdict"]["worst"] < 0.02


def test_a_run_that_goes_on_with_another_comfyui_is_told_so(world):
    plan = world.plan(max_train_steps=1, seed=7).model_copy(update={"host": "0.0.1 of long ago"})
    run = world.finish(world.run(plan, "older"))
    assert "host_changed" in [each["code"] for each in events(run, "notice")]


def test_what_is_encoded_is_encoded_once(world, straight):
    again = world.finish(world.run(world.plan(max_train_steps=1, seed=9), "again"))
    phases = [[each["name"] for each in events(run, "phase")] for run in (straight, again)]
    assert "caching" in phases[0] and "caching" not in phases[1]


def test_each_part_is_loaded_when_the_one_before_is_gone(hosted, world):
    apart = copy.copy(world)
    apart.root = world.root / "apart"  # with a cache of its own, where everything is still to be encoded
    run = apart.run(apart.plan(max_train_steps=1, seed=11), "watched")
    assert hosted.case("alive_when_loaded", run=str(run.dir)) == [["vae", []], ["text", []], ["model", []]]


def test_a_picture_that_does_not_fit_is_an_error_and_no_tiles(hosted, world):
    found = hosted.case("out_of_memory", file=world.files["ae"])
    assert "in one piece" in found["said"] and found["tiles"] == 0


@pytest.mark.full
def test_a_base_that_this_comfyui_cannot_read_ends_its_run_before_the_first_step(hosted, tmp_path):
    found = hosted.case("quantised", folder=str(tmp_path), kind="nvfp4")
    if "unknown" not in found:
        pytest.skip(f"ComfyUI {hosted.opened['version']} reads nvfp4")
    world = HostWorld(hosted, tmp_path)
    world.files["base"] = found["stored"]
    run = world.run(world.plan(max_train_steps=1), "later")
    assert hosted.wait(hosted.start(run)) != 0
    state = run.state()
    assert (
        state.status == "failed" and "do not fit the model" in state.problem and "Update ComfyUI" in state.fix
    )
    assert state.step == 0 and not events(run, "progress")


def test_a_training_adapter_is_on_while_the_character_is_learned_and_no_part_of_its_file(world, straight):
    adapter = straight.dir / straight.checkpoint("latest")["file"]
    plan = world.plan(max_train_steps=1, base_weights="b" * 64)
    beside = world.finish(world.run(plan, "beside", base_weights=str(adapter)))
    learned, begun = straight.state().validations[-1]["loss"], beside.state().validations[0]["loss"]
    assert begun == pytest.approx(learned, rel=2e-3)
    facts = read_lora_facts(beside.dir / beside.checkpoint("latest")["file"])
    assert len(facts.modules) == len(read_lora_facts(adapter).modules)


DRAWN = Sampling(
    sampler="res_multistep",
    scheduler="simple",
    steps=2,
    cfg=4.0,
    width=64,
    height=64,
    base_model="small",
    renderer="comfyui",
)


def drawn_in_a_shell(world, run, **sampling):
    return validate_run(
        run,
        paths=world.paths(),
        sampling=DRAWN.model_copy(update=sampling),
        prompts=("a dot",),
        seeds=(1,),
        checkpoints="latest",
        workspace=Workspace.at(world.root),
    )


@pytest.mark.full  # two Pythons that import ComfyUI
def test_a_grid_is_drawn_in_a_shell_by_the_comfyui_in_its_folder(world, straight, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REDUCED_MODELS), os.environ.get("PYTHONPATH", "")]))
    saved = drawn_in_a_shell(world, straight).saved
    pictures = [
        (saved.manifest_file.parent / each.picture.file).read_bytes() for each in saved.manifest.cells
    ]
    assert len(pictures) == 2 and pictures[0] != pictures[1], "with the LoRA it is another picture"
    with pytest.raises(RenderingFailed, match="can't be rendered"):
        drawn_in_a_shell(world, straight, sampler="of_another_time")


def test_pictures_are_drawn_by_comfyuis_own_sampler_with_and_without_the_lora(
    hosted, world, straight, tmp_path
):
    lora = str(straight.dir / straight.checkpoint("latest")["file"])
    one = {"prompt": "a dot", "negative": "", "seed": 1}
    renders = [
        {**one, "key": "bare", "lora_file": None, "strength": 0.0},
        {**one, "key": "worn", "lora_file": lora, "strength": 1.0},
        {**one, "key": "again", "lora_file": None, "strength": 0.0},
    ]
    paths = world.paths()
    job = {
        **DRAWN.model_dump(),
        "family": FAMILY,
        "base_model_file": paths.base_model_file,
        "mixed_precision": "no",
        "files": {
            **paths.extra,
            "base_model_file": paths.base_model_file,
            "cache_dir": str(paths.cache_dir),
        },
        "out_dir": str(tmp_path),
        "renders": renders,
    }
    assert hosted.case("rendered", job=job) != {}
    bare, worn, again = ((tmp_path / f"{each['key']}.png").read_bytes() for each in renders)
    assert bare == again != worn


def test_without_a_comfyui_it_is_said_how_to_draw(world, straight, tmp_path, monkeypatch):
    paths = replace(world.paths(), tokenizer_dir=tmp_path)
    monkeypatch.setattr(world, "paths", lambda: paths)
    with pytest.raises(Unavailable, match="no ComfyUI was found") as caught:
        drawn_in_a_shell(world, straight, steps=3)
    assert "COMFYUI_DIR" in caught.value.fix


GENTLY = {"gradient_checkpointing": True, "unet_lr": 2e-3}  # the random AuraFlow leaps at ten times that


@pytest.fixture(scope="module", params=["auraflow", pytest.param("hidream", marks=pytest.mark.full)])
def untried(request, hosted, tmp_path_factory):
    """A family that has no file of its own: what it is called, its world, and a run of it."""
    model = request.param
    world = HostWorld(hosted, tmp_path_factory.mktemp(model), family="other", model=model)
    run = world.run(world.plan(**GENTLY), "untried")
    return {"auraflow": "AuraFlow", "hidream": "HiDream"}[model], world, world.finish(run)


def test_a_family_without_a_file_of_its_own_is_checked_before_the_first_step_and_learns(untried):
    title, _, run = untried
    kinds = [(each["kind"], each.get("code")) for each in run.events()]
    (told,) = [each for each in events(run, "notice") if each["code"] == "untried_family"]
    assert told["problem"].startswith(f"Nobody has tried {title} here")
    assert "gradients were checked: the worst of" in told["problem"]
    assert kinds.index(("notice", "untried_family")) < [kind for kind, _ in kinds].index("progress")
    measured = [row["loss"] for row in run.state().validations]
    assert len(measured) == 4 and measured[-1] < measured[0]


def test_killed_and_resumed_it_ends_with_the_same_bytes_and_is_not_checked_again(untried):
    _, world, straight = untried
    killed = world.run(world.plan(**GENTLY), "killed")
    world.kill_at(killed, 6)
    world.finish(killed)
    one, two = straight.checkpoint("latest"), killed.checkpoint("latest")
    assert one["file"] == two["file"]
    assert (straight.dir / one["file"]).read_bytes() == (killed.dir / two["file"]).read_bytes()
    assert len(list((world.root / "cache" / "gradients").glob("*.json"))) == 1


def packaged(world, run, lora_dir):
    folder = Workspace.at(world.root).dataset_dir("dot")
    shutil.copytree(world.dataset, folder, dirs_exist_ok=True)
    (folder / "metadata.yaml").write_text(
        "lora_tag: char_dot\nlicence: CC0-1.0\nsource: drawn here\nrelease_approved: true\nrating: sfw\n"
    )
    return package_lora(run, "latest", lora_dir=lora_dir, workspace=Workspace.at(world.root))


def test_it_is_packaged_and_comfyui_loads_it_without_an_unknown_key(hosted, untried, tmp_path):
    _, world, run = untried
    package = packaged(world, run, tmp_path)
    assert "another image model" in package.card_file.read_text("utf-8")
    found = hosted.case("drawn_with", file=world.files["base"], lora=str(package.file))
    assert found["unknown"] == [] and found["patches"] == found["modules"]
    assert found["difference"] < 1e-5 < found["moved"], found


KNOWN = {
    "flux1": "flux",
    "flux2_dev": "flux2",
    "flux2_klein_base_4b": "flux2",
    "chroma": "chroma",
    "qwen_image": "qwen",
    "sd3": "sd3",
    "lumina2": "lumina2",
    "zimage_turbo": "zimage",
    "krea2": "krea2",
    "anima": "anima",
}
"""Families to their reduced models."""


@pytest.mark.full
@pytest.mark.parametrize("family", KNOWN)
def test_every_family_learns_goes_on_after_a_kill_and_is_packaged_for_comfyui(hosted, tmp_path, family):
    if not knows(hosted.install.dir, architecture(family)):
        pytest.skip(f"ComfyUI {hosted.opened['version']} does not know it")
    world = HostWorld(hosted, tmp_path, family=family, model=KNOWN[family])
    plan = world.plan(**GENTLY)
    run = world.finish(world.run(plan, "straight"))
    measured = [row["loss"] for row in run.state().validations]
    assert len(measured) == 4 and measured[-1] < measured[0]
    killed = world.run(plan, "killed")
    world.kill_at(killed, 6)
    world.finish(killed)
    straight, resumed = (each.dir / each.checkpoint("latest")["file"] for each in (run, killed))
    assert straight.read_bytes() == resumed.read_bytes()
    package = packaged(world, run, tmp_path / "loras")
    found = hosted.case("drawn_with", file=world.files["base"], lora=str(package.file))
    assert found["unknown"] == [] and found["patches"] == found["modules"]
    assert found["difference"] < 1e-5 < found["moved"], found
    print(f"{family}: held-out loss {measured[0]:.4f} -> {measured[-1]:.4f}, {found['modules']} modules")


def test_what_is_believed_of_one_untried_model_is_not_believed_of_another(hosted, tmp_path):
    worlds = [
        HostWorld(hosted, tmp_path / model, family="other", model=model) for model in ("auraflow", "zimage")
    ]
    keys = {hosted.case("belief", file=world.files["base"], family="other") for world in worlds}
    assert len(keys) == 2
