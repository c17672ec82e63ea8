"""Print the id of a character's newest run: `python -m scripts.newest_run CHARACTER`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kohya_bridge.runs.run_list import RunList
from kohya_bridge.workspace import Workspace


def main(arguments: Sequence[str]) -> int:
    (character,) = arguments
    newest = next((line for line in RunList(Workspace.default()).lines() if line.slug == character), None)
    if newest is None:
        print(f"There is no run of {character!r} yet.", file=sys.stderr)
        return 1
    print(newest.run_id)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
