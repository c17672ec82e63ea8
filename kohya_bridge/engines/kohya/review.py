"""`python -m kohya_bridge.engines.kohya.review`: what upstream did since the pinned commit, and whether a hook point moved.

In: a git repository of sd-scripts (the submodule, `$KOHYA_SD_SCRIPTS`, or `--repository`). Out: the commits behind the pin,
the hook points whose code changed, and those that moved or went. It changes nothing: taking a newer commit is a decision.
Exit code 0: the hooks fit upstream; 1: they do not; 2: it could not be found out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ...counted import counted
from ...errors import BridgeError, Unavailable
from .checkout import find_checkout, pinned_commit
from .surface import BEFORE_A_MOVE, HOOK_POINTS, TRAIN_UTIL, TRAINER, moved, read_surface

FETCH_TIMEOUT_S = 300


@dataclass(frozen=True)
class Review:
    """The difference between the pin and upstream."""

    pinned: str
    upstream: str
    commits: tuple[str, ...]
    """One line each, newest first."""
    changed: tuple[str, ...]
    """Hook points whose code is another: to be read before the pin is moved."""
    moved: tuple[str, ...]
    """What the hooks rely on and upstream no longer has."""

    def text(self) -> str:
        lines = [f"pinned    {self.pinned}", f"upstream  {self.upstream}", ""]
        if not self.commits:
            return "\n".join([*lines, "Nothing new."])
        lines += [
            f"{counted(len(self.commits), 'commit')} since the pin:",
            *(f"  {each}" for each in self.commits[:200]),
            "",
        ]
        lines += ["Hook points that moved:", *(f"  {each}" for each in self.moved or ("none",)), ""]
        lines += [
            "Hook points whose code changed (read them first):",
            *(f"  {each}" for each in self.changed or ("none",)),
            "",
            "Before the pin is moved:",
            *(f"  {each}" for each in BEFORE_A_MOVE),
        ]
        return "\n".join(lines)


def review(repository: Path, *, upstream: str) -> Review:
    """Compare the pinned commit with `upstream` (a branch or commit that is in `repository`).

    Raises:
        Unavailable: the repository lacks one of the two.
    """
    pinned = pinned_commit()
    newest = _git(repository, "rev-parse", f"{upstream}^{{commit}}").strip()
    log = _git(repository, "log", "--format=%h %cs %s", f"{pinned}..{newest}")
    before, after = (_sources(repository, each) for each in (pinned, newest))
    old, new = read_surface(before), read_surface(after)
    changed = [
        f"{point.file}: {point.name} ({point.why})"
        for point in HOOK_POINTS
        if point.name in old and point.name in new and old[point.name].digest != new[point.name].digest
    ]
    return Review(pinned, newest, tuple(log.splitlines()), tuple(changed), tuple(moved(after)))


def _sources(repository: Path, commit: str) -> dict[str, str]:
    return {file: _git(repository, "show", f"{commit}:{file}") for file in (TRAINER, TRAIN_UTIL)}


def _git(repository: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(repository), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=FETCH_TIMEOUT_S,
            check=True,
        ).stdout
    except FileNotFoundError as error:
        raise Unavailable("git is not installed.", "Install git.") from error
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines() or ["no message"]
        raise Unavailable(
            f"git {arguments[0]} failed: {said[-1]}", "Run again with --fetch, or name --repository."
        ) from error


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kohya_bridge.engines.kohya.review", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--repository", type=Path, help="a git repository of sd-scripts (default: the checkout in use)"
    )
    parser.add_argument("--fetch", action="store_true", help="ask upstream first (needs the network)")
    parser.add_argument(
        "--upstream", default="origin/main", help="what to compare with (default: origin/main)"
    )
    options = parser.parse_args(arguments)
    try:
        repository = options.repository or find_checkout().dir
        if options.fetch:
            _git(repository, "fetch", "--quiet", "origin")
        found = review(repository, upstream=options.upstream)
    except BridgeError as error:
        print(f"{error.problem} {error.fix}", file=sys.stderr)
        return 2
    print(found.text())
    return 1 if found.moved else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
