"""Files of a workspace, opened, written and cleared so that a folder which somebody passed on can't reach beyond itself.

In: the folder of a run, a dataset or a validation, and names of files below it. Out: plain files. Nothing is ever written or
deleted through a link; reading follows one only to a place in the same folder. Pipes, sockets and devices are refused before
they are opened, reads are bounded. The folder itself, and what lies above it, may be links: a person's own larger disk.
Standard library only: trainers use it too.
"""

from .named import open_named, read_named, write_atomically
from .sealed import read_sealed, write_sealed
from .tree import RECORD_BYTES, Tree

__all__ = [
    "RECORD_BYTES",
    "Tree",
    "open_named",
    "read_named",
    "read_sealed",
    "write_atomically",
    "write_sealed",
]
