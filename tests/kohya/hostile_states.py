"""Resume states as somebody may pass them on: pickles that run code, and states as earlier versions wrote them."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

PICKLES = ("random_states_0.pkl", "optimizer.bin", "scheduler.bin", "pytorch_model.bin")
"""Every file of a state that accelerate hands to torch.load."""


class _Payload:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def plant_pickle(state: Path, name: str, mark: Path, *, archived: bool = True) -> None:
    """Put a file in place of the state's that makes the folder `mark` when it is unpickled, in torch's archive or bare."""
    (state / name).unlink(missing_ok=True)
    if name == "pytorch_model.bin":  # taken where there is no .safetensors
        (state / "model.safetensors").unlink()
    if not archived:
        (state / name).write_bytes(pickle.dumps(_Payload(mark), protocol=2))
        return
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Payload(mark), protocol=2))
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
    (state / name).write_bytes(content.getvalue())


def as_before(state: Path) -> None:
    """Make the ledger one of the time when random states lay in accelerate's pickle alone."""
    told = json.loads((state / "ledger.json").read_text("utf-8"))
    del told["now"]
    (state / "ledger.json").write_text(json.dumps(told), "utf-8")
