"""A worker that asks an engine for anything: python -m tests.hostile.options BUNDLE SEED < numbers.

Every fifth case is a command line. What is allowed is small, so that a case is milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import random
import tempfile
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from fgdm.cli import command
from fgdm.engine import Engine
from fgdm.errors import Error
from fgdm.request import FactorOptions, RequestOptions
from PIL import Image

from tests.hostile import workers
from tests.hostile.answers import check_result
from tests.hostile.values import NUMBERS, TEXTS

PROMPT = "two dogs beside a house under a tree"
_NAMES = sorted(RequestOptions.__annotations__)
_FACTOR_NAMES = sorted(FactorOptions.__annotations__)
#: The exit code of an internal error, which none of them may be.
_INTERNAL = 1
_KEPT: dict[str, Any] = {
    "candidates": 2,
    "condition_steps": 1,
    "num_inference_steps": 1,
    "seed": 1,
    "deadline": 8,
}


def _odd(random_: random.Random) -> Any:
    """A value of a type or range that nobody expects."""
    choices: list[Callable[[], Any]] = [
        lambda: None,
        lambda: random_.choice([True, False]),
        lambda: random_.choice(NUMBERS),
        lambda: random_.choice(TEXTS),
        lambda: random_.choice([b"", b"dog", bytearray(3), memoryview(b"abc")]),
        lambda: random_.choice([[], (), {}, set(), iter(()), range(3), object(), 1j, int]),
        lambda: random_.choice([Decimal("1.5"), Fraction(1, 2), Decimal("NaN")]),
        lambda: random_.choice(
            [np.int64(2), np.uint8(1), np.float16(0.5), np.float64("nan"), np.bool_(True)]
        ),
        lambda: np.zeros(random_.choice([(), (0,), (1,), (2,), (1, 4, 8, 8), (2, 2, 2)])),
        lambda: np.full((1, 4, 8, 8), random_.choice([np.nan, np.inf, 1e300])),
        lambda: np.array(["a", None], dtype=object),
        lambda: [random_.choice(NUMBERS)] * random_.choice([1, 2, 3]),
        lambda: [random_.choice(TEXTS)] * random_.choice([1, 2, 3]),
        lambda: {random_.choice(TEXTS): random_.choice([None, np.zeros((8, 8, 3), np.uint8)])},
        lambda: Image.new(random_.choice(["L", "RGBA", "1"]), (8, 8)),
    ]
    return random_.choice(choices)()


_GOOD: dict[str, list[Any]] = {
    "candidates": [1, 2, 5, np.int64(3)],
    "condition_steps": [1, 2, 3],
    "num_inference_steps": [1, 2, np.int32(2)],
    "guidance": ["cfg", "segfree"],
    "sampler": ["ddim", "dpmsolver++", "euler", "unipc", "lcm"],
    "condition_sampler": ["ddim", "dpmsolver++_sde", "euler_ancestral", "tcd"],
    "timestep_spacing": ["leading", "trailing", "karras"],
    "condition_timestep_spacing": ["trailing", "linspace"],
    "cache_interval": [1, 2, 3],
    "cache_level": [1, 2],
    "guidance_interval": [(0.0, 1.0), (0.2, 0.2), [0, 1]],
    "condition_guidance_interval": [(0.0, 1.0), (1.0, 1.0)],
    "height": [64, 128, 96],
    "width": [64, 128, 160],
    "latents": [np.ones((1, 4, 32, 32), np.float32), np.ones((1, 4, 16, 16))],
    "condition_latents": [np.ones((2, 4, 16, 16), np.float16)],
    "control_images": [{}],
    "loras": [{}],
    "joint": [(), [], ["segmentation", "image"]],
    "joint_refresh": [1, 2],
    "image": [np.full((128, 128, 3), 90, np.uint8), Image.new("RGB", (128, 128))],
    "mask": [np.ones((128, 128), bool), Image.new("L", (128, 128), 255)],
    "prune": [(), [1], (1, 2)],
    "objects": [["dog"], ("house", "tree"), []],
    "seed": [0, 2**64 - 1],
    "negative_prompt": ["", "blurry"],
    "wave": [0, 1, 2],
    "priority": [-1000, 0, 1000],
}
_FRACTIONS = [0, 0.0, 0.5, 1, 1.0, np.float32(0.25), 2.5]


def _factors(random_: random.Random) -> Any:
    """Options of the bundle's factor, some of which are as they should be."""
    if random_.random() < 0.2:
        return {random_.choice(["segmentation", "depth", *TEXTS]): None}
    options: dict[str, Any] = {}
    if random_.random() < 0.5:
        options["map"] = np.full((64, 64), random_.choice([0, 1, 22, 23, 255]), np.uint8)
    for name in random_.sample(_FACTOR_NAMES, random_.choice([0, 1, 1, 3])):
        good = random_.choice(_GOOD.get(name, _FRACTIONS))
        options[name] = _odd(random_) if random_.random() < 0.5 else good
    return {"segmentation": options}


def _options(random_: random.Random) -> dict[str, Any]:
    """Some options, most of them as they should be."""
    options: dict[str, Any] = dict(_KEPT)
    for name in random_.sample(_NAMES, random_.choice([1, 1, 2, 3, 6])):
        value = random_.choice(_GOOD.get(name, _FRACTIONS))
        options[name] = _odd(random_) if random_.random() < 0.6 else value
    if random_.random() < 0.25:
        options["factors"] = _factors(random_)
    return options


def _prompt(random_: random.Random) -> Any:
    if random_.random() < 0.8:
        return PROMPT
    return random_.choice([*TEXTS, None, 3, b"a dog", "dog " * 3000, "no dogs", "\x01\x02 dog"])


def prepare(arguments: list[str]) -> Callable[[int], dict[str, Any]]:
    """The function that asks and judges."""
    bundle, seed = Path(arguments[0]), arguments[1]
    engine = Engine(bundle, backend="cpu", threads=1, max_queue=8)
    expected = np.asarray(engine.generate(PROMPT, **_KEPT).image)

    def run(case: int) -> dict[str, Any]:
        random_ = random.Random(f"options {seed} {case}")
        if case % 5 == 0:
            words = _command(random_, bundle)
            return {"problem": _judge_command(words), "description": repr(words)[:600]}
        prompt, options = _prompt(random_), _options(random_)
        problem = _judge(engine, prompt, options)
        again = np.asarray(engine.generate(PROMPT, **_KEPT).image)
        if problem is None and not np.array_equal(again, expected):
            problem = "after it, a valid request's picture is another"
        changed = {k: v for k, v in options.items() if k not in _KEPT or v is not _KEPT[k]}
        return {"problem": problem, "description": f"{prompt!r:.60} {changed!r:.500}"}

    return run


def _judge(engine: Engine, prompt: Any, options: dict[str, Any]) -> str | None:
    try:
        result = engine.generate(prompt, **options)
    except Error as error:
        return None if str(error).strip() else f"{type(error).__name__} without a word"
    except BaseException as error:
        return f"it raised {type(error).__name__}: {error!s:.300}"
    return check_result(result)


def _command(random_: random.Random, bundle: Path) -> list[str]:
    """A command line; steps and a deadline are always given, so that it is short."""
    steps = [f"--{name.replace('_', '-')}={value}" for name, value in _KEPT.items()]
    words = ["generate", PROMPT, "--bundle", str(bundle), *steps, "--backend", "cpu"]
    flags = [f"--{name.replace('_', '-')}" for name in _NAMES] + ["--precision", "--threads"]
    for flag in random_.sample(flags, random_.choice([1, 2, 4])):
        words += [flag, random_.choice([*map(str, NUMBERS), *TEXTS[:3], "1,2", "a,b", ",", "0,1"])]
    if random_.random() < 0.2:
        words = [random_.choice(["inspect", "profile", "doctor", "nothing", ""]), *words[1:]]
    return [word.replace("\0", "") for word in words]


def _judge_command(words: list[str]) -> str | None:
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(said):
        output = ["--output", folder] if words[0] == "generate" else []
        try:
            with contextlib.redirect_stdout(said):
                code: Any = command.main([*words, *output])
        except SystemExit as error:
            code = error.code
        except BaseException as error:
            return f"it raised {type(error).__name__}: {error!s:.300}"
    text = said.getvalue()
    if code == _INTERNAL or "Traceback" in text or "internal error" in text:
        return f"exit code {code}: {text[-400:]}"
    return None


if __name__ == "__main__":
    workers.serve(prepare)
