"""Where things lie travels with an order: what one process knew, another takes up."""

import json
import os

from kohya_bridge.models.places import IMPORTS_KEY, Places
from kohya_bridge.workspace import Workspace


def places(tmp_path, **more):
    return Places(Workspace.at(tmp_path), (), (), tmp_path / "tokenizer", **more)


def test_where_comfyui_finds_its_packages_travels_with_the_model_folders(tmp_path):
    knows = places(
        tmp_path, import_dirs=[tmp_path / "a", tmp_path / "b"], model_dirs={"vae": [tmp_path / "v"]}
    )
    told = json.loads(json.dumps(knows.folders))
    taken = places(tmp_path).with_folders(told)
    assert taken.import_dirs == [tmp_path / "a", tmp_path / "b"]
    assert taken.folder_hints()[IMPORTS_KEY] == os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")])
    assert taken.folder_hints()["folder.vae"] == str(tmp_path / "v")


def test_an_order_of_the_version_before_names_none(tmp_path):
    told = {name: each for name, each in places(tmp_path).folders.items() if name != "imports"}
    assert places(tmp_path).with_folders(told).import_dirs == []
    assert IMPORTS_KEY not in places(tmp_path).folder_hints()
