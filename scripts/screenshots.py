"""Take the pictures of the help pages: the panel in each state, light and dark, in the real ComfyUI frontend.

In: the installed frontend and a rehearsed workspace (losses by formula, samples from the demo data set; nothing is
trained). Out: `docs/images/panel-<state>-<theme>.png`. `make screenshots` runs it; names of scenes after the module's take those alone.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFilter
from playwright.sync_api import Page

from kohya_bridge.workspace import Workspace
from tests.panel.browsing import launched_chromium
from tests.panel.frontends import installed_frontend, open_tab
from tests.panel.stage import ROOT, Stage
from tests.rehearsed_runs import Rehearsal, rehearse, rehearsed_plan, train_loss

IMAGES_DIR = ROOT / "docs" / "images"
DEMO_PICTURES = sorted((ROOT / "training" / "kohya" / "datasets" / "char_wren" / "images").glob("*.png"))
PANEL_WIDTH = 440
PAGE = {"width": 1180, "height": 900}
LORA_BYTES = 19_000_000


@dataclass(frozen=True)
class Scene:
    """A state worth a picture: what is in the workspace, and the way to it from the list."""

    name: str
    build: Callable[[Workspace], list[Rehearsal]]
    reach: Callable[[Page, list[Rehearsal]], None]
    height: int = 900


def main(names: Sequence[str] = ()) -> None:
    """Every scene, or those that are named."""
    IMAGES_DIR.mkdir(parents=True, exist_ok=True)
    with launched_chromium() as browser:
        for scene in SCENES:
            if names and scene.name not in names:
                continue
            with _staged(scene) as (stage, stories):
                for theme in ("dark", "light"):
                    page = browser.new_page(viewport={**PAGE, "height": scene.height})
                    picture = _photograph(page, stage, scene, stories, theme)
                    file = IMAGES_DIR / f"panel-{scene.name}-{theme}.png"
                    _save(picture, file)
                    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} KB")
                    page.close()


@contextmanager
def _staged(scene: Scene) -> Iterator[tuple[Stage, list[Rehearsal]]]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.at(Path(folder) / "training")
        stories = scene.build(workspace)
        with Stage(workspace.root, frontend_dir=installed_frontend()) as stage:
            stage.desk.line = [story.run.run_id for story in stories if story.run.state().status == "queued"]
            yield stage, stories


def _photograph(page: Page, stage: Stage, scene: Scene, stories: list[Rehearsal], theme: str) -> bytes:
    open_tab(page, stage.url)
    page.evaluate(f"window.app.extensionManager.setting.set('Comfy.ColorPalette', '{theme}')")
    _widen(page)
    scene.reach(page, stories)
    page.mouse.move(PAGE["width"] - 5, 5)
    page.wait_for_timeout(900)  # thumbnails and the bar's transition
    return page.get_by_role("region", name="Wizdroid training").screenshot()


def _widen(page: Page) -> None:
    """Drag the sidebar's edge, as a person does, until the panel has its width."""
    box = page.get_by_role("region", name="Wizdroid training").bounding_box()
    assert box is not None
    edge, middle = box["x"] + box["width"] + 2, box["y"] + 300
    page.mouse.move(edge, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + PANEL_WIDTH, middle, steps=8)
    page.mouse.up()


def _save(picture: bytes, file: Path) -> None:
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").save(file, optimize=True)


# --- scenes ------------------------------------------------------------------------------------------------------------


def _wren(step: int, total: int) -> Image.Image:
    """A picture of the demo character that comes out of a blur as training goes on."""
    with Image.open(DEMO_PICTURES[step // 100 % len(DEMO_PICTURES)]) as picture:
        small = picture.convert("RGB").resize((320, 320))
    return small.filter(ImageFilter.GaussianBlur(14 * max(0.0, 1 - 1.25 * step / total)))


def _plan(**settings: object):
    return rehearsed_plan(dataset="wren", images=24, max_train_steps=1500, **settings)


def _story(workspace: Workspace, plan, *, minutes_ago: float, **options: object) -> Rehearsal:
    options = {"picture": _wren, "checkpoint_bytes": LORA_BYTES, **options}
    return rehearse(workspace, plan, now=time.time() - 60 * minutes_ago, **options)


def _done(workspace: Workspace, *, minutes_ago: float = 95) -> Rehearsal:
    return _story(workspace, _plan(), minutes_ago=minutes_ago).start().train(1, 1500).finish("completed")


def _training(workspace: Workspace) -> Rehearsal:
    story = _story(workspace, _plan(seed=7, unet_lr=2e-4, network_dim=32), minutes_ago=7, held_out=_faster)
    return story.start().train(
        1, 940, loss=lambda step: train_loss(step * 2 + 100_001) * 0.2 + _faster(step) * 0.84
    )


def _faster(step: int) -> float:
    return 0.0895 + 0.034 * 2.718 ** (-step / 240) + max(0.0, step - 750) * 2.2e-5


def _failed(workspace: Workspace) -> Rehearsal:
    plan = rehearsed_plan(
        dataset="blacksmith", base="sd_xl_base_1.0.safetensors", family_name="sdxl", resolution=1024
    )
    story = _story(workspace, plan, minutes_ago=60 * 26, seconds_per_step=2.1).start().train(1, 140)
    story.report.notice(
        "GPU memory is nearly full: 11.7 of 12.0 GiB.",
        "Close other programs that use the GPU.",
        code="memory_low",
    )
    return story.finish(
        "failed",
        problem="The GPU ran out of memory at step 141.",
        fix="Train with less memory, or free the GPU of other programs.",
        code="out_of_memory",
        evidence="torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 640.00 MiB.",
    )


def _queued(workspace: Workspace) -> Rehearsal:
    story = _story(workspace, rehearsed_plan(dataset="dancer"), minutes_ago=3)
    story.run.append("queued", position=1)
    return story


def _all(workspace: Workspace) -> list[Rehearsal]:
    return [_failed(workspace), _done(workspace), _training(workspace), _queued(workspace)]


def _received(workspace: Workspace) -> list[Rehearsal]:
    """Runs that somebody passed on, with what would act by itself, and one that a full disk has cut."""
    done, training = _done(workspace, minutes_ago=60 * 30), _training(workspace)
    for story, nodes in (
        (done, ("KSampler", "VAEDecode", "SaveImage", "SaveImage")),
        (training, ("SaveImage",)),
    ):
        prompt = {str(number): {"class_type": name, "inputs": {}} for number, name in enumerate(nodes)}
        story.run.held_prompts_dir.mkdir()
        told = json.dumps({"prompt": prompt, "client_id": None, "extra_pnginfo": None})
        (story.run.held_prompts_dir / "0123456789abcdef.json").write_text(told, "utf-8")
    cut = _story(workspace, rehearsed_plan(dataset="dancer"), minutes_ago=60 * 50).start().train(1, 300)
    cut.finish("stopped")
    cut.run.plan_file.write_text(cut.run.plan_file.read_text("utf-8")[:90], "utf-8")
    return [cut, done, training]


def _damaged(workspace: Workspace) -> list[Rehearsal]:
    story = _done(workspace)
    for name in ("run.json", "best.json"):
        (story.run.dir / name).write_text('{"pid": 4', "utf-8")
    return [story]


def _open(at: int) -> Callable[[Page, list[Rehearsal]], None]:
    def reach(page: Page, stories: list[Rehearsal]) -> None:
        story = stories[at]
        page.get_by_role("list", name="Runs").get_by_role("button").nth(at).click()
        page.get_by_role("heading", name=story.plan.character, exact=True).wait_for()

    return reach


def _other_ways(page: Page, stories: list[Rehearsal]) -> None:
    _open(0)(page, stories)
    page.get_by_role("region", name="Outcome").get_by_text("Other ways").click()


def _compare(page: Page, stories: list[Rehearsal]) -> None:
    page.get_by_role("button", name="Compare", exact=True).first.click()
    for run in page.get_by_role("list", name="Runs").get_by_role("button").all():
        run.click()
    page.get_by_role("status").get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Compare runs").wait_for()


SCENES = (
    Scene("empty", lambda workspace: [], lambda page, stories: None, height=620),
    Scene("runs", _all, lambda page, stories: None, height=680),
    Scene("training", lambda workspace: [_done(workspace), _training(workspace)][1:], _open(0), height=1330),
    Scene("failed", lambda workspace: [_failed(workspace)], _other_ways, height=1180),
    Scene("done", lambda workspace: [_done(workspace)], _open(0), height=1180),
    Scene("received", _received, lambda page, stories: None, height=860),
    Scene("damaged", _damaged, _open(0), height=1180),
    Scene("compare", lambda workspace: [_done(workspace), _training(workspace)], _compare, height=720),
)


if __name__ == "__main__":
    main(sys.argv[1:])
