"""Values that nobody expects, for JSON and for arguments."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

NESTED = "\0nested\0"  # stands for arrays in each other, which json.dumps can't write

NUMBERS: list[Any] = [
    0, -1, 1, 2, 3, 7, 255, 256, 65536, 2**31 - 1, 2**31, -(2**31) - 1, 2**32, 2**53 + 1, 2**63 - 1,
    2**63, 2**64 - 1, 2**64, 10**40, -0.0, 0.5, -1.5, 1e-320, 1e308, -1e308, float("nan"),
    float("inf"), float("-inf"),
]  # fmt: skip

TEXTS = [
    "", " ", "\0", "a\0b", "a" * 5000, "../../etc/passwd", "/dev/zero", ".", "..", "manifest.json",
    "ünïcödé", "\ud800", "😀" * 100, "\u202edesrever", "%s%n%d", "${HOME}", "a/b/c", "\n\r\t",
    "NaN", "null", "true", "0", "-1", "1e999", "text_encoder", "backbone", "segmentation", "image",
    "fp16", "cfg", "controlnet", "adapter", "ddim", "float32",
]  # fmt: skip


def any_json(random_: random.Random, most: int = 1000) -> Any:
    """A value of any JSON type. most: items of a list; inner lists are short."""
    choices: list[Callable[[], Any]] = [
        lambda: None,
        lambda: random_.choice([True, False]),
        lambda: random_.choice(NUMBERS),
        lambda: random_.choice(TEXTS),
        lambda: [],
        lambda: {},
        lambda: [any_json(random_, 2)] * random_.choice([1, 2, most]),
        lambda: {random_.choice(TEXTS): any_json(random_, most)},
        lambda: NESTED,
        lambda: {"name": "sample", "dtype": "float32", "shape": [1, 4, "height", "width"]},
    ]
    return random_.choice(choices)()
