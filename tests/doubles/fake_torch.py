"""Doubles of torch's device functions: what a machine with one kind of device answers, for machines that are not at hand.

`fake_torch("mps", ...)` has the functions that torch documents for that kind, and notes every call of one in `calls`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

GIB = 2**30


class OutOfMemoryError(RuntimeError):
    """torch's own type."""


def fake_torch(
    kind: str,
    *,
    hip: str | None = None,
    properties: dict[str, Any] | None = None,
    macos: tuple[int, int] = (14, 5),
    cards: int = 1,
    has_bf16: bool = True,
) -> Any:
    """A torch whose only device is of that kind: "cuda" (with `hip`: ROCm), "xpu", "mps" or "cpu"."""
    calls: list[str] = []

    class Event:
        def __init__(self) -> None:
            calls.append("event")

    known = {"name": f"a {kind} card", "total_memory": 16 * GIB, "major": 8, "minor": 6, **(properties or {})}

    def noting(name: str, answer: Any = None) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            calls.append(name)
            return answer

        return call

    def backend(name: str) -> SimpleNamespace:
        return SimpleNamespace(
            is_available=lambda: kind == name,
            device_count=lambda: cards,
            is_bf16_supported=lambda *_, **__: has_bf16,
            get_arch_list=lambda: ["sm_80", "sm_86"],
            Event=Event,
            current_device=lambda: 0,
            get_device_properties=lambda _: SimpleNamespace(**known),
            get_device_name=lambda *_: known["name"],
            synchronize=noting(f"{name}.synchronize"),
            empty_cache=noting(f"{name}.empty_cache"),
            memory_reserved=lambda *_: 3 * GIB,
            max_memory_reserved=lambda *_: 4 * GIB,
            mem_get_info=lambda *_: (10 * GIB, 16 * GIB),
        )

    mps = SimpleNamespace(
        synchronize=noting("mps.synchronize"),
        empty_cache=noting("mps.empty_cache"),
        driver_allocated_memory=lambda: 3 * GIB,
        recommended_max_memory=lambda: 12 * GIB,
    )
    return SimpleNamespace(
        calls=calls,
        OutOfMemoryError=OutOfMemoryError,
        set_flush_denormal=noting("set_flush_denormal"),
        use_deterministic_algorithms=lambda on, warn_only: calls.append(f"deterministic {on} {warn_only}"),
        version=SimpleNamespace(hip=hip, cuda=None if hip else "12.8"),
        cuda=backend("cuda"),
        xpu=backend("xpu"),
        mps=mps,
        backends=SimpleNamespace(
            cudnn=SimpleNamespace(benchmark=True, deterministic=False),
            mps=SimpleNamespace(
                is_available=lambda: kind == "mps",
                get_name=lambda: "Apple M2",
                is_macos_or_newer=lambda major, minor: (major, minor) <= macos,
            ),
        ),
    )
