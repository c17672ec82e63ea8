"""What the check for dead code finds, and what it leaves alone."""

from scripts.dead_code import dead_code


def found_in(root, **modules):
    for name in ("kohya_bridge", "nodes", "scripts", "tests"):
        (root / name).mkdir()
    (root / "__init__.py").touch()
    for name, text in modules.items():
        (root / f"{name.replace('__', '/')}.py").write_text(text)
    return sorted({item.name for item in dead_code(root)})


def test_a_private_function_is_dead_though_another_module_calls_one_of_that_name(tmp_path):
    living = "def _environment():\n    return 1\n\n\n_environment()\n"
    dead = "def _environment():\n    return 2\n"
    assert found_in(tmp_path, kohya_bridge__one=living, kohya_bridge__two=dead) == ["_environment"]


def test_what_only_a_test_calls_is_dead_in_the_pack_and_alive_in_the_scripts(tmp_path):
    text = "def {0}():\n    return 1\n"
    found = found_in(
        tmp_path,
        kohya_bridge__one=text.format("lonely"),
        scripts__two=text.format("asked"),
        tests__test_three="def test_it():\n    lonely()\n    asked()\n",
    )
    assert found == ["lonely"]


def test_fields_are_left_alone_and_what_comfyui_calls_is_known(tmp_path):
    node = "class Node:\n    size = 1\n\n    def define_schema(cls):\n        return 1\n\n\nNode()\n"
    assert found_in(tmp_path, nodes__a=node) == []
