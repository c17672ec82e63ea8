"""Make the canvas form of every example workflow out of its API form: `python -m scripts.lay_out_workflows`.

In: `example_workflows/api/*.json` and what a running ComfyUI says of its nodes. Out: `example_workflows/<same name>.json`,
with nodes in columns from left to right, for Browse Templates and for dropping on the canvas. A host test keeps the two
forms equal.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from .host.comfy_host import ComfyHost
from .host.comfy_install import ROOT

API_DIR = ROOT / "example_workflows" / "api"
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
WIDTH_PX, COLUMN_GAP_PX, ROW_GAP_PX = 340, 80, 70
TITLE_PX, SLOT_PX, WIDGET_PX, TEXT_PX, PICTURE_PX, TOLD_PX = 30, 20, 24, 110, 260, 150

Json = dict[str, Any]


def lay_out(prompt: Json, object_info: Json) -> Json:
    """A prompt in API form as a workflow of the canvas."""
    columns = _columns(prompt)
    links: list[list[Any]] = []
    nodes = {
        name: _node(name, entry, object_info[entry["class_type"]], links) for name, entry in prompt.items()
    }
    _connect(links, nodes)
    for column, names in enumerate(columns):
        top = 0
        for name in names:
            nodes[name]["pos"] = [column * (WIDTH_PX + COLUMN_GAP_PX), top]
            top += nodes[name]["size"][1] + ROW_GAP_PX
    ordered = [name for names in columns for name in names]
    for order, name in enumerate(ordered):
        nodes[name]["order"] = order
    return {
        "last_node_id": max(int(name) for name in prompt),
        "last_link_id": len(links),
        "nodes": [nodes[name] for name in ordered],
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _columns(prompt: Json) -> list[list[str]]:
    """Node names by the longest way to them from a node without inputs."""
    depth: dict[str, int] = {}

    def depth_of(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max(
                (depth_of(value[0]) for value in _links_of(prompt[name]).values()), default=-1
            )
        return depth[name]

    found: dict[int, list[str]] = {}
    for name in prompt:
        found.setdefault(depth_of(name), []).append(name)
    return [found[each] for each in sorted(found)]


def _links_of(entry: Json) -> Json:
    return {name: value for name, value in entry["inputs"].items() if isinstance(value, list)}


def _node(name: str, entry: Json, info: Json, links: list[list[Any]]) -> Json:
    """A node with its sockets, and with a line in `links` for each of its wired inputs."""
    specs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    inputs: list[Json] = []
    values: list[Any] = []
    height = TITLE_PX + SLOT_PX * len(info["output"])
    for key in [key for part in ("required", "optional") for key in info["input_order"].get(part, [])]:
        kind, options = _spec(specs[key])
        given = entry["inputs"].get(key)
        is_widget = kind in WIDGET_TYPES and not options.get("forceInput")
        hidden = options.get("advanced", False)
        if is_widget:
            values.append(options.get("default", "") if isinstance(given, list) or given is None else given)
            if options.get("control_after_generate"):
                values.append("fixed")
                height += WIDGET_PX
            if not hidden:
                height += TEXT_PX if options.get("multiline") else WIDGET_PX
        socket: Json = {"name": key, "type": kind, "link": None}
        if is_widget:
            socket["widget"] = {"name": key}
        else:
            height += SLOT_PX
        if isinstance(given, list):
            links.append([len(links) + 1, int(given[0]), given[1], int(name), len(inputs), kind])
            socket["link"] = len(links)
        inputs.append(socket)
    outputs = [
        {"name": label, "type": "COMBO" if isinstance(kind, list) else kind, "links": [], "slot_index": slot}
        for slot, (label, kind) in enumerate(zip(info["output_name"], info["output"], strict=True))
    ]
    if info["output_node"]:
        height += PICTURE_PX if not info["output"] or "IMAGE" in info["output"] else TOLD_PX
    return {
        "id": int(name),
        "type": entry["class_type"],
        "pos": [0, 0],
        "size": [WIDTH_PX, height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "title": entry.get("_meta", {}).get("title", info["display_name"]),
        "inputs": inputs,
        "outputs": outputs,
        "properties": {"Node name for S&R": entry["class_type"]},
        "widgets_values": values,
    }


def _spec(spec: list[Any]) -> tuple[str, Json]:
    """Type and options of an input; old nodes give a list of choices in place of the type."""
    options = spec[1] if len(spec) > 1 else {}
    if isinstance(spec[0], list):
        return "COMBO", options  # without a default: the first choice is another one on every machine
    return str(spec[0]), options


def _connect(links: list[list[Any]], nodes: dict[str, Json]) -> None:
    """Note each link at the output that it starts from, and take its type from there."""
    for link in links:
        output = nodes[str(link[1])]["outputs"][link[2]]
        output["links"].append(link[0])
        link[5] = output["type"]


def main() -> None:
    with tempfile.TemporaryDirectory() as base, ComfyHost(Path(base)) as host:
        object_info = host.client.get("object_info")
    for file in sorted(API_DIR.glob("*.json")):
        workflow = lay_out(json.loads(file.read_text("utf-8")), object_info)
        target = API_DIR.parent / file.name
        target.write_text(json.dumps(workflow, indent=1) + "\n", "utf-8")
        print(f"{target.relative_to(ROOT)}: {len(workflow['nodes'])} nodes")


if __name__ == "__main__":
    main()
