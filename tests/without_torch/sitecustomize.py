"""On the path of every Python that a quick test starts: it finds no torch, as on a machine that has none. See `tests/tiers.py`."""

from importlib.machinery import PathFinder

_find = PathFinder.find_spec


def find_but_torch(cls, name, path=None, target=None):
    return None if name == "torch" else _find(name, path, target)


PathFinder.find_spec = classmethod(find_but_torch)  # bound, as pytest keeps it as an attribute
