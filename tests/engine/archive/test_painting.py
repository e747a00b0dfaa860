"""An engine paints from an archive what it paints from the folder."""

from __future__ import annotations

import mmap
from pathlib import Path

import fgdm
import numpy as np
import pytest
from fgdm.cli.command import main
from fgdm.errors import RequestError
from fgdm.packing import pack

from tests.engine.archive.conftest import SCENES


def painted(engine: fgdm.Engine) -> list[bytes]:
    """A picture and its maps, in few steps."""
    result = engine.generate(
        "two dogs beside a house",
        seed=3,
        candidates=2,
        condition_steps=2,
        num_inference_steps=2,
        height=64,
        width=64,
        stop_at_recall=0.0,
    )
    return [result.image.tobytes(), *(one.map.tobytes() for one in result.candidates)]


def test_an_engine_paints_the_same_from_folder_archive_and_memory(scenes: Path) -> None:
    content = scenes.read_bytes()
    with scenes.open("rb") as stream, fgdm.Engine(SCENES, backend="cpu", threads=1) as engine:
        expected = painted(engine)
        seen = engine.segment(np.zeros((64, 64, 3), np.uint8))
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        for bundle in (scenes, str(scenes), content, memoryview(content), mapped):
            with fgdm.Engine(bundle, backend="cpu", threads=1) as other:
                assert painted(other) == expected, type(bundle)
                assert other.palette == engine.palette and other.manifest == engine.manifest
        with fgdm.Engine(scenes, backend="cpu", threads=1) as other:
            np.testing.assert_array_equal(other.segment(np.zeros((64, 64, 3), np.uint8)), seen)


def test_bytes_are_held_as_long_as_an_engine_needs_them(scenes: Path) -> None:
    content = bytearray(scenes.read_bytes())
    engine = fgdm.Engine(content, backend="cpu", threads=1)
    with pytest.raises(BufferError):
        content.append(0)  # it would move
    job = engine.submit("a dog", candidates=1, condition_steps=1, num_inference_steps=1)
    engine.close()
    del engine
    with pytest.raises(fgdm.CancelledError):
        job.result()
    content.append(0)


def test_what_holds_no_bytes_or_misplaced_ones_is_refused(scenes: Path) -> None:
    for wrong in (3, None, ["a"], np.zeros((4, 4), np.uint8)[:, ::2]):
        with pytest.raises(RequestError, match="bundle must be a path, or bytes without gaps"):
            fgdm.Engine(wrong)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no multiple of 16"):
        fgdm.Engine(memoryview(b"x" + scenes.read_bytes())[1:])


WRITERS = {
    "tune": ["tune", "ARCHIVE", "--write"],
    "profile": ["profile", "ARCHIVE"],
    "build": ["build", "ARCHIVE", "--target", "tensorrt"],
    "prune": ["build", "ARCHIVE", "--prune"],
    "compare": ["compare", "ARCHIVE", "--b", "openvino"],
    "export": ["export", "--add-segmenter", "x.onnx", "--into", "ARCHIVE"],
}


@pytest.mark.parametrize("command", WRITERS)
def test_what_needs_a_folder_says_to_unpack(
    bundle: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.fgdm"
    pack(bundle, archive)
    before = archive.read_bytes()
    words = [str(archive) if word == "ARCHIVE" else word for word in WRITERS[command]]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "is an archive, and" in said and f"fgdm unpack {archive} FOLDER" in said
    assert archive.read_bytes() == before
