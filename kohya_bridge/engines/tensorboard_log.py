"""TensorBoard scalars of a run, written without TensorBoard: `tensorboard --logdir <runs folder>` shows them.

In: the run's events, one by one. Out: `tensorboard/events.out.tfevents.*` in the run folder, one file for each attempt. A
resumed attempt tells TensorBoard where it went on, so that steps which were trained twice are drawn once.
Standard library only: the sd-scripts interpreter imports this file.

Format: records of the TFRecord format (length, masked CRC-32C, data, masked CRC-32C) that hold `Event` messages; field
numbers from tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..files import Tree

FOLDER_NAME = "tensorboard"
_CASTAGNOLI = 0x82F63B78  # CRC-32C's polynomial, bits reversed
_SESSION_STARTS = b"\x08\x01"  # SessionLog.status = START


class TensorboardLog:
    """The writing end: give it every event in order. It opens its file at `run_started`."""

    def __init__(self, run_dir: Path):
        self.files = Tree(Path(run_dir))
        self.folder = self.files.dir / FOLDER_NAME
        self._stream: BinaryIO | None = None

    def take(self, event: dict[str, Any]) -> None:
        """Write what the event holds for TensorBoard, if anything. Raises OSError."""
        if event["kind"] == "run_started":
            self._open(event)
        if self._stream is None:
            return
        scalars = dict(scalars_of(event))
        if scalars:
            self._stream.write(_record(_event(event["time"], event["step"], summary=scalars)))
        if event["kind"] != "progress":
            self._stream.flush()
        if event["kind"] == "run_finished":
            self.close()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self, event: dict[str, Any]) -> None:
        self.close()
        # TensorBoard sorts files by the seconds in their name; no host name stands in ours.
        name = f"events.out.tfevents.{int(event['time']):010d}.attempt{event['attempt']}"
        self._stream = self.files.create(self.folder / name)
        self._stream.write(_record(_event(event["time"], 0, version="brain.Event:2")))
        resumed_from = event.get("resumed_from", 0)
        if resumed_from:
            self._stream.write(_record(_event(event["time"], resumed_from + 1, session=_SESSION_STARTS)))
        self._stream.flush()


_FILE_NAME = re.compile(r"events\.out\.tfevents\.[0-9]{10,12}\.attempt[0-9]{1,10}")


def write_tensorboard(run_dir: Path, events: Iterable[dict[str, Any]]) -> Path:
    """Write the files of a whole run again, from its events. Returns their folder."""
    log = TensorboardLog(run_dir)
    for old in log.files.entries(log.folder):
        if _FILE_NAME.fullmatch(old.name):
            log.files.clear(old)
    for event in events:
        log.take(event)
    log.close()
    return log.folder


def scalars_of(event: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """`(tag, value)` of an event's numbers; what is missing or not finite is left out."""
    if event["kind"] == "progress":
        named = {
            "train/loss": event.get("loss"),
            "train/loss_average": event.get("loss_ema"),
            "speed/seconds_per_step": event.get("seconds_per_step"),
            "memory/vram_gib": event.get("vram_gib"),
            **{f"rate/{name}": rate for name, rate in (event.get("lr") or {}).items()},
        }
    elif event["kind"] == "validation":
        named = {
            "held_out/loss": event.get("loss"),
            "held_out/loss_low": event.get("loss_low"),
            "held_out/loss_high": event.get("loss_high"),
            "held_out/psnr_db": event.get("psnr"),
            "held_out/loss_of_trained": event.get("train_loss"),
        }
    else:
        return
    for tag, value in named.items():
        if isinstance(value, (int, float)) and math.isfinite(value):
            yield tag, float(value)


def _event(
    seconds: float,
    step: int,
    *,
    version: str = "",
    summary: dict[str, float] | None = None,
    session: bytes = b"",
) -> bytes:
    """An `Event`: wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7."""
    message = b"\x09" + struct.pack("<d", seconds) + b"\x10" + _varint(step)
    if version:
        message += _field(3, version.encode())
    if summary:
        # Summary.value = 1 is a Value: tag = 1, simple_value = 2 (a 32-bit float).
        values = (
            _field(1, tag.encode()) + b"\x15" + struct.pack("<f", value) for tag, value in summary.items()
        )
        message += _field(5, b"".join(_field(1, value) for value in values))
    if session:
        message += _field(7, session)
    return message


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()
