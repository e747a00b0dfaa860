"""Compiled contexts: made once and then loaded, the same pictures, and a word for every reason why
one isn't there. OpenVINO's plugin makes them here; TensorRT-RTX's are made in the same way.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

pytest.importorskip("fgdm._core", reason="the C++ core is not built")

from fgdm import BackendError, Engine, RequestError, compile_graphs, machine
from fgdm.cli.command import main
from fgdm.contexts import find_contexts, prune_contexts
from fgdm.inspect import describe
from fgdm.manifest import read_manifest
from numpy.typing import NDArray

REQUEST: dict[str, Any] = {
    "prompt": "two dogs on the grass",
    "candidates": 2,
    "condition_steps": 2,
    "num_inference_steps": 2,
    "seed": 1,
}


def painted(bundle: Path, contexts: str | Path) -> tuple[NDArray[np.uint8], list[str]]:
    """A picture, and what the engine notes of contexts."""
    options: dict[str, Any] = {"backend": "openvino", "precision": "fp32", "threads": 1}
    with Engine(bundle, **options, contexts=contexts) as engine:
        picture = np.asarray(engine.generate(**REQUEST).image)
        return picture, [note for note in engine.notes if "context" in note]


@pytest.fixture(scope="module")
def compiled(
    tiny_bundle: Path, openvino_site: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the contexts of all graphs; not to be changed."""
    folder = tmp_path_factory.mktemp("compiled") / "contexts"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(openvino_site))
        made = compile_graphs(tiny_bundle, backend="openvino", threads=1, contexts=folder)
    assert not any(graph.was_kept or graph.notes for graph in made)
    assert all(graph.size > 0 for graph in made)
    return folder


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path, openvino_site: Path) -> NDArray[np.uint8]:
    """The picture without contexts, of which none are kept unless they are asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(openvino_site))
        picture, notes = painted(tiny_bundle, "auto")
    assert notes == [] and not (tiny_bundle / "contexts").exists()
    return picture


@pytest.fixture
def kept(compiled: Path, openvino: machine.Plugin, tmp_path: Path) -> Iterator[Path]:
    """A copy of it: contexts may be moved."""
    yield Path(shutil.copytree(compiled, tmp_path / "kept"))


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def model_of(folder: Path, bundle: Path, graph: str = "backbone") -> Path:
    (found,) = (
        context.folder
        for context in find_contexts(folder, read_manifest(bundle))
        if context.covers is not None and context.covers["graph"] == graph
    )
    (binary,) = found.glob("*.bin")
    return binary


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_what_is_kept_is_loaded_and_paints_the_same(
    tiny_bundle: Path, kept: Path, expected: NDArray[np.uint8]
) -> None:
    before = files(kept)
    picture, notes = painted(tiny_bundle, kept)
    assert notes == [] and files(kept) == before
    assert np.array_equal(picture, expected)
    again = compile_graphs(tiny_bundle, backend="openvino", contexts=kept)
    assert all(graph.was_kept for graph in again), "for any number of threads"


def test_the_first_opening_makes_them_in_the_bundle(
    tiny_bundle: Path, openvino: machine.Plugin, expected: NDArray[np.uint8], tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    picture, notes = painted(bundle, "bundle")
    assert np.array_equal(picture, expected), "by the sessions that compiled"
    description = describe(bundle, verify=True)
    assert notes == [] and description.unlisted == ()
    (backbone,) = (c for c in description.contexts if c.covers and c.covers["graph"] == "backbone")
    assert backbone.target == "openvino" and backbone.problem is None and backbone.size > 0
    assert openvino.version in backbone.made_for and "onnxruntime 1." in backbone.made_for
    text = "\n".join(description.lines())
    assert f"openvino/{backbone.key[:12]}" in text and "of no use" not in text
    assert json.loads(json.dumps(description.to_json()))["contexts"][0]["target"] == "openvino"


def test_a_spoilt_one_is_made_anew(
    tiny_bundle: Path, kept: Path, expected: NDArray[np.uint8]
) -> None:
    spoil(model_of(kept, tiny_bundle))
    picture, notes = painted(tiny_bundle, kept)
    assert len(notes) == 1 and "backbone was made anew" in notes[0] and "altered" in notes[0]
    assert np.array_equal(picture, expected)
    assert painted(tiny_bundle, kept)[1] == []


def test_one_that_a_killed_process_half_wrote_is_not_seen(tiny_bundle: Path, kept: Path) -> None:
    place = model_of(kept, tiny_bundle).parent
    place.rename(place.with_name(f".{place.name}.17.part"))
    assert painted(tiny_bundle, kept)[1] == []
    assert model_of(kept, tiny_bundle).parent == place


_OPEN = """
import sys, fgdm
with fgdm.Engine(sys.argv[1], backend="openvino", threads=1, contexts=sys.argv[2]) as engine:
    print([note for note in engine.notes if "context" in note])
"""


def test_processes_that_open_a_bundle_at_once_all_succeed(
    tiny_bundle: Path, openvino: machine.Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FGDM_ONNXRUNTIME_PLUGINS", openvino.library)
    command = [sys.executable, "-c", _OPEN, str(tiny_bundle), str(tmp_path / "contexts")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [(process.communicate()[0], process.returncode) for process in running] == [
        ("[]\n", 0)
    ] * 2
    found = find_contexts(tmp_path / "contexts", read_manifest(tiny_bundle), verify=True)
    graphs = [context.covers["graph"] for context in found if context.covers is not None]
    assert "backbone" in graphs and len(set(graphs)) == len(graphs)
    assert not any(context.problem for context in found)
    assert len(list((tmp_path / "contexts/openvino").iterdir())) == len(found)


def test_backends_that_make_none_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    for backend in ("cpu", "tensorrt"):
        with pytest.raises(RequestError, match=f'contexts is .*backend "{backend}"'):
            Engine(tiny_bundle, backend=backend, contexts=tmp_path)
    with pytest.raises(RequestError, match='"auto", "off", "bundle" or a folder'):
        Engine(tiny_bundle, backend="cpu", contexts="")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RequestError, match='"openvino" and "tensorrt-rtx" do'):
        compile_graphs(tiny_bundle, backend="cpu", contexts=tmp_path)
    with pytest.raises(RequestError, match='"tensorrt" runs plans, which fgdm build makes'):
        compile_graphs(tiny_bundle, backend="tensorrt", contexts=tmp_path)
    with pytest.raises(RequestError, match="threads is -1"):
        compile_graphs(tiny_bundle, backend="openvino", threads=-1, contexts=tmp_path)
    with pytest.raises(BackendError, match="RTX card"):
        compile_graphs(tiny_bundle, backend="tensorrt-rtx", contexts=tmp_path)


def test_auto_tells_that_its_backend_makes_none(tiny_bundle: Path, tmp_path: Path) -> None:
    """In a process of its own: in this one, other tests may have loaded OpenVINO's plugin."""
    program = """
import sys, fgdm
with fgdm.Engine(sys.argv[1], backend="auto", contexts=sys.argv[2]) as engine:
    print(*engine.notes, sep="\\n")
try:
    fgdm.compile_graphs(sys.argv[1], backend="auto", contexts="auto")
except fgdm.RequestError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(tiny_bundle), str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '"auto" took backend "cpu", which makes none' in told
    assert "no provider here makes compiled contexts" in told and '"tensorrt-rtx" do' in told
    assert list(tmp_path.iterdir()) == []


def test_the_command_compiles_what_is_missing_and_prunes(
    tiny_bundle: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = model_of(kept, tiny_bundle)
    spoil(spoilt)
    command = ["compile", str(tiny_bundle), "--contexts", str(kept)]
    assert main([*command, "--prune"]) == 0
    assert f"removed {spoilt.parent}: {spoilt.name} has been altered" in capsys.readouterr().out
    assert main([*command, "--backend", "openvino"]) == 0
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert ["backbone", "compiled"] in lines and ["text_encoder", "was"] in lines
    assert main([*command, "--backend", "cpu"]) == 2
    assert 'backend "cpu" compiles none' in capsys.readouterr().err


def test_where_nothing_can_be_written_the_command_fails(
    tiny_bundle: Path,
    openvino: machine.Plugin,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "contexts")
    command = ["compile", str(tiny_bundle), "--backend", "openvino", "--contexts", place]
    assert main(command) == 4
    said = capsys.readouterr()
    assert said.out.count("can't be kept in") == 1 and "Not a directory" in said.out
    assert "the notes above say why" in said.err


def test_contexts_of_graphs_that_have_changed_are_stale(tiny_bundle: Path, kept: Path) -> None:
    manifest = read_manifest(tiny_bundle)
    changed = replace(
        manifest,
        files=tuple(
            replace(entry, sha256="0" * 64) if entry.path == "backbone.onnx" else entry
            for entry in manifest.files
        ),
    )
    problems = {c.problem for c in find_contexts(kept, changed)}
    assert problems == {None, "stale: backbone.onnx changed since it was made"}
    (removed,) = prune_contexts(kept, changed)
    assert removed.covers is not None and removed.covers["graph"] == "backbone"
    assert not removed.folder.exists()


def test_metadata_is_as_its_schema_says(compiled: Path, tiny_bundle: Path) -> None:
    text = (resources.files("fgdm") / "context.schema.json").read_text(encoding="utf-8")
    schema = Draft202012Validator(json.loads(text))
    described = json.loads(text)["$defs"]["context_covers"]["properties"]
    found = list(compiled.glob("openvino/*/context.json"))
    assert found
    for path in found:
        document = json.loads(path.read_bytes())
        schema.validate(document)
        assert document["covers"].keys() == described.keys(), "every field is described"
    weights = json.loads((model_of(compiled, tiny_bundle).parent / "context.json").read_bytes())
    assert any(path.endswith(".safetensors") for path in weights["covers"]["files"])
