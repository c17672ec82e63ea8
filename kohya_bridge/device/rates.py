"""How fast a graphics card multiplies, by its maker's data sheet: for an estimate before anything was measured on it.

In: a `Device` and a number format. Out: TFLOP a second, or None where nobody told. Standard library only.
"""

from __future__ import annotations

import re

from .description import Device
from .precision import NO

DATA_SHEETS: tuple[tuple[str, float, float], ...] = (
    ("B200", 2250, 75), ("H200", 989, 67), ("H100 PCIE", 756, 51), ("H100", 989, 67), ("A100", 312, 19.5),
    ("L40S", 362, 91.6), ("L40", 181, 90.5), ("L4", 121, 30.3), ("A40", 150, 37.4), ("A10", 125, 31.2),
    ("V100", 125, 15.7), ("T4", 65, 8.1),
    ("RTX PRO 6000", 504, 126), ("RTX 6000 ADA", 364, 91.1), ("RTX A6000", 155, 38.7), ("RTX A5000", 111, 27.8),
    ("RTX A4000", 76.7, 19.2),
    ("RTX 5090 LAPTOP", 126, 31.8), ("RTX 5090", 209, 104.8), ("RTX 5080", 113, 56.3), ("RTX 5070 TI", 87.9, 43.9), ("RTX 5070", 61.7, 30.9),
    ("RTX 5060 TI", 47.4, 23.7), ("RTX 5060", 38.4, 19.2),
    ("RTX 4090 LAPTOP", 66, 33), ("RTX 4090", 165, 82.6), ("RTX 4080 SUPER", 104, 52.2), ("RTX 4080", 97.5, 48.7),
    ("RTX 4070 TI SUPER", 88.2, 44.1), ("RTX 4070 TI", 80.2, 40.1), ("RTX 4070 SUPER", 71, 35.5), ("RTX 4070", 58.3, 29.1),
    ("RTX 4060 TI", 44.1, 22.1), ("RTX 4060", 30.2, 15.1),
    ("RTX 3090 TI", 80, 40), ("RTX 3090", 71, 35.6), ("RTX 3080 TI", 68.2, 34.1), ("RTX 3080", 59.5, 29.8), ("RTX 3070 TI", 43.5, 21.7),
    ("RTX 3070", 40.6, 20.3), ("RTX 3060 TI", 32.4, 16.2), ("RTX 3060", 25.5, 12.7), ("RTX 3050", 18.2, 9.1),
    ("RTX 2080 TI", 53.8, 13.4), ("RTX 2080", 40.3, 10.1), ("RTX 2070", 29.9, 7.5), ("RTX 2060", 25.8, 6.5),
)  # fmt: skip
"""Part of a card's name, with dense half-precision TFLOP/s (tensor cores that add in fp32) and those of fp32: as NVIDIA's architecture
white papers (Turing to Blackwell) and data sheets give them, written down without these at hand. A first guess: the first run on a card takes
its place. The first that fits counts."""


def data_sheet_tflops(device: Device, mixed_precision: str) -> float | None:
    """What the card's maker promises for that format, in 10^12 operations a second."""
    name = re.sub(r"[^A-Z0-9 ]", " ", device.name.upper())
    for card, half, full in DATA_SHEETS:
        if re.search(rf"\b{card}\b", name):
            return full if mixed_precision == NO else half
    return None
