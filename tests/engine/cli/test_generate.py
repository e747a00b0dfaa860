"""Protects fgdm-generate, the C++ program: its picture is the Python engine's, and it exits with a
number that says whether it made one.

Build it with cmake -DFGDM_EXAMPLES=ON, and name it in FGDM_GENERATE.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fgdm._core", reason="the C++ core is not built")

from fgdm import Engine, machine
from fgdm.manifest import hash_line
from PIL import Image

PROGRAM = os.environ.get("FGDM_GENERATE", "")
PROMPT = "two dogs and a ball on the grass"

pytestmark = pytest.mark.skipif(
    not PROGRAM, reason="FGDM_GENERATE doesn't name the program fgdm-generate"
)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *words], capture_output=True, encoding="utf-8", check=False)


@pytest.fixture(scope="module")
def library() -> str:
    return machine.choose_library(machine.find_runtimes(), "cpu")


def test_its_picture_is_pythons(tiny_bundle: Path, library: str, tmp_path: Path) -> None:
    picture = tmp_path / "picture.ppm"
    done = run("--backend", "cpu", tiny_bundle, PROMPT, picture, library)
    assert (done.returncode, done.stderr) == (0, "")
    with Engine(tiny_bundle, backend="cpu", library=library) as engine:
        result = engine.generate(PROMPT, seed=0)
    with Image.open(picture) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(result.image))
    assert f"{engine.info.runtime} on cpu" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["picture.ppm"]
    progress = re.findall(r"^\w+ \d+/\d+", done.stdout, re.MULTILINE)
    assert progress and len(progress) == len(set(progress))
    chosen = f"candidate {result.chosen} of {len(result.candidates)}"
    assert f"{chosen} holds {len(result.found)} of {len(result.requested)}" in done.stdout


def test_a_bundle_that_only_paints(tiny_bundle: Path, library: str, tmp_path: Path) -> None:
    """It makes no map of which anything could be said."""
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["factors"] = [{**manifest["factors"][-1], "conditionings": []}]
    content = json.dumps(manifest).encode()
    (bundle / "manifest.json").write_bytes(content)
    (bundle / "manifest.sha256").write_bytes(hash_line(content))
    done = run("--backend", "cpu", bundle, PROMPT, tmp_path / "picture.ppm", library)
    assert (done.returncode, done.stderr) == (0, "")
    assert "picture.ppm" in done.stdout and "candidate" not in done.stdout


def test_what_cannot_be_used_is_told(tiny_bundle: Path, library: str, tmp_path: Path) -> None:
    picture = tmp_path / "picture.ppm"
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "manifest.json").write_text("{")
    for bundle, told in ((tmp_path / "absent", "absent"), (damaged, "manifest")):
        done = run("--backend", "cpu", bundle, PROMPT, picture, library)
        assert done.returncode == 1
        assert done.stderr.startswith("fgdm-generate: ") and told in done.stderr
    done = run("--backend", "cpu", tiny_bundle, PROMPT, picture, tmp_path / "libonnxruntime.so")
    assert done.returncode == 1 and "ONNX Runtime could not be opened" in done.stderr
    done = run("--backend", "tpu", tiny_bundle, PROMPT, picture, library)
    assert done.returncode == 1 and 'backend is "tpu"' in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_a_picture_that_cannot_be_written_is_told(
    tiny_bundle: Path, library: str, tmp_path: Path
) -> None:
    """Before any work: nothing of it was printed."""
    (tmp_path / "folder").mkdir()
    for picture in (tmp_path / "absent" / "picture.ppm", tmp_path / "folder"):
        done = run("--backend", "cpu", tiny_bundle, PROMPT, picture, library)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{picture} cannot be written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["bundle", PROMPT],
        ["--seed", "1", "bundle", PROMPT, "picture.ppm"],
        ["--backend"],
        ["bundle", PROMPT, "picture.ppm", "library", "more"],
    ],
)
def test_wrong_words_show_the_usage(words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ") and "BUNDLE PROMPT OUTPUT.ppm" in done.stderr
