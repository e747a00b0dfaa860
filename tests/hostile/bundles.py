"""A worker that opens spoilt bundles: python -m tests.hostile.bundles BUNDLE SEED < numbers."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fgdm.cli import command
from fgdm.engine import Engine
from fgdm.errors import BackendError, BundleError, Error, OutOfMemoryError
from fgdm.result import Result

from tests.hostile import mutations, workers
from tests.hostile.answers import check_result
from tests.hostile.miniature import content_of

PROMPT = "two dogs beside a house under a tree"
#: Of `fgdm inspect`: sound, or a bundle that isn't.
_INSPECT_CODES = (0, 3)


def prepare(arguments: list[str]) -> Callable[[int], dict[str, Any]]:
    """The function that spoils a copy of the bundle and judges what fgdm makes of it."""
    sound, seed = Path(arguments[0]), int(arguments[1])
    home = Path(tempfile.mkdtemp(prefix="fgdm-hostile-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    expected = _generate(sound, "cpu")

    def run(case: int) -> dict[str, Any]:
        folder = home / str(case)
        shutil.copytree(sound, folder, copy_function=os.link)
        try:
            description, hashed = mutations.spoil(folder, seed, case)
            problem = _judge(folder, hashed, "auto" if case % 4 == 0 else "cpu")
            if problem is None and case % 50 == 0 and not _equal(_generate(sound, "cpu"), expected):
                problem = "after it, the sound bundle's picture is another"
            return {"problem": problem, "description": description}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return run


def _generate(folder: Path, backend: str) -> Result:
    with Engine(folder, backend=backend, threads=1) as engine:
        return engine.generate(
            PROMPT, candidates=2, condition_steps=1, num_inference_steps=2, seed=1
        )


def _equal(one: Result, other: Result) -> bool:
    return np.array_equal(np.asarray(one.image), np.asarray(other.image))


def _judge(folder: Path, hashed: bool, backend: str) -> str | None:
    """What is wrong with how fgdm takes a bundle, None if nothing."""
    return _judge_inspect(folder) or _judge_engine(folder, hashed, backend)


def _judge_engine(folder: Path, hashed: bool, backend: str) -> str | None:
    changed = not hashed and _listed_file_changed(folder)
    try:
        engine = Engine(folder, backend=backend, threads=1)
    except (BundleError, BackendError, OutOfMemoryError) as error:
        return _judge_words(error) or (
            f"{type(error).__name__} for a damaged bundle: {error}"
            if changed and not isinstance(error, BundleError)
            else None
        )
    except BaseException as error:
        return f"opening raised {_words(error)}"
    with engine:
        return "a bundle with a wrong hash was opened" if changed else _judge_request(engine)


def _judge_request(engine: Engine) -> str | None:
    try:
        result = engine.generate(
            PROMPT, candidates=2, condition_steps=1, num_inference_steps=2, seed=1, deadline=8
        )
    except Error as error:
        return _judge_words(error)
    except BaseException as error:
        return f"a request raised {_words(error)}"
    try:
        return check_result(result)
    except Exception as error:
        return f"the result can't be shown: {_words(error)}"


def _listed_file_changed(folder: Path) -> bool:
    """Whether hashes say that the bundle was altered. Independent of fgdm."""

    def digest(path: Path) -> str:
        return hashlib.sha256(content_of(path)).hexdigest()

    try:
        told = content_of(folder / "manifest.sha256")[:64].decode()
        if digest(folder / "manifest.json") != told:
            return True
        files = json.loads(content_of(folder / "manifest.json"))["files"]
        return any(digest(folder / name) != entry["sha256"] for name, entry in files.items())
    except (OSError, ValueError):
        return True


def _judge_inspect(folder: Path) -> str | None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = command.main(["inspect", str(folder), "--verify"])
    except BaseException as error:
        return f"fgdm inspect raised {_words(error)}"
    if code not in _INSPECT_CODES:
        return f"fgdm inspect ended with {code}: {said.getvalue()[-500:]}"
    return None


def _judge_words(error: Error) -> str | None:
    """A message must say something, and not pages of it."""
    text = str(error)
    if not text.strip():
        return f"{type(error).__name__} without a word"
    if len(text) > 2000:
        return f"{type(error).__name__} of {len(text)} characters: {text[:200]}"
    return None


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error!s:.300}"


if __name__ == "__main__":
    workers.serve(prepare)
