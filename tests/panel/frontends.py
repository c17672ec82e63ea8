"""The ComfyUI frontends that the panel is tried in, and the way to its tab."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from playwright.sync_api import Locator, Page

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("WIZDROID_CACHE") or ROOT / ".cache")


def installed_frontend() -> Path | None:
    """The one that the ComfyUI of the tests brings."""
    spec = find_spec("comfyui_frontend_package")
    return Path(spec.origin).parent / "static" if spec and spec.origin else None


FRONTENDS = {
    "the host's": installed_frontend(),
    "the newest": CACHE / "newest-frontend" / "comfyui_frontend_package" / "static",
}


def missing(name: str) -> str:
    """Why that frontend can't be used, or nothing."""
    folder = FRONTENDS[name]
    if folder is not None and (folder / "index.html").is_file():
        return ""
    return f"{name} ComfyUI frontend is not installed (make test does): {folder}"


def open_tab(page: Page, url: str) -> Locator:
    """Open ComfyUI and its Training tab; returns the tab."""
    page.goto(url)
    tab = page.get_by_role("button", name="Wizdroid Training").first
    tab.wait_for(timeout=60_000)
    page.keyboard.press("Escape")  # closes what a first visit may have opened
    tab.click()
    page.get_by_role("region", name="Wizdroid training").wait_for()
    return tab
