"""The kit's way to a machine with a card: pieces, weights that don't travel, stages that fail."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fgdm import Engine
from fgdm.bundle_files import check_hashes, check_sizes
from fgdm.manifest import read_manifest
from safetensors.numpy import load_file

from gpu import arrays
from gpu.pieces import join, missing, split
from gpu.random_weights import SUFFIX, fill, strip
from gpu.run import main, run_command, run_stages, table
from gpu.stages import Command, Place, Stage, stages

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"


def test_a_folder_comes_back_from_its_pieces(tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "noise").write_bytes(np.random.default_rng(0).bytes(50_000))
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)
    pieces = split(folder, tmp_path / "pieces", 20_000)
    assert len(pieces) == 3
    assert all(piece.stat().st_size <= 20_000 for piece in pieces)
    join(tmp_path / "pieces", tmp_path / "there")
    assert (tmp_path / "there/deep/noise").read_bytes() == (folder / "deep/noise").read_bytes()
    assert (tmp_path / "there/program").stat().st_mode & 0o111


def test_a_lost_and_a_damaged_piece_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    (folder / "noise").write_bytes(np.random.default_rng(0).bytes(50_000))
    lost, damaged, _ = split(folder, tmp_path / "pieces", 20_000)
    lost.unlink()
    whole = damaged.read_bytes()
    damaged.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert missing(tmp_path / "pieces") == ["piece-00", "piece-01"]
    with pytest.raises(ValueError, match="piece-00, piece-01"):
        join(tmp_path / "pieces", tmp_path / "there")
    assert not (tmp_path / "there").exists()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random") / "scenes"
    strip(SCENES, folder)
    travels = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert travels < 3e6
    fill(folder, 2)
    return folder


def test_random_weights_have_the_scale_of_the_old_ones(filled: Path) -> None:
    assert not list(filled.rglob(f"*{SUFFIX}"))
    name = "unet/diffusion_pytorch_model.safetensors"
    old, new = load_file(SCENES / name), load_file(filled / name)
    assert {key: tensor.shape for key, tensor in old.items()} == {
        key: tensor.shape for key, tensor in new.items()
    }
    for key, tensor in old.items():
        if tensor.size > 10_000:
            assert not np.array_equal(tensor, new[key])
            assert new[key].std() == pytest.approx(tensor.astype(np.float32).std(), rel=0.05)


def test_a_filled_bundle_is_whole_and_paints(filled: Path) -> None:
    manifest = read_manifest(filled)
    check_sizes(filled, manifest)
    check_hashes(filled, manifest)
    with Engine(filled, backend="cpu", threads=1) as engine:
        result = engine.generate(
            "a dog", seed=1, candidates=1, condition_steps=1, num_inference_steps=1
        )
        assert result.image.size == (128, 128)


def test_filling_gives_the_same_numbers_whatever_the_workers(filled: Path, tmp_path: Path) -> None:
    strip(SCENES, tmp_path / "again")
    fill(tmp_path / "again", 1)
    manifests = [
        (folder / "manifest.sha256").read_text() for folder in (filled, tmp_path / "again")
    ]
    assert manifests[0] == manifests[1]


def python(name: str, code: str, limit: int = 20, **rest: object) -> Command:
    return Command(name, (sys.executable, "-c", code), limit, **rest)  # type: ignore[arg-type]


def test_a_program_that_fails_or_hangs_costs_its_own_time_only(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    leaves_a_child = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    stage = Stage(
        "one",
        "of each kind",
        (
            python("fails", "print('why'); raise SystemExit(3)"),
            python("hangs", leaves_a_child, limit=1),
            python("trains", "import time; time.sleep(60)", limit=1, partial=True),
            Command("absent", ("/no/such/program",), 5),
            python(
                "works", f"open({str(figures)!r}, 'w').write('{{\"speed\": 2}}')", output=figures
            ),
        ),
    )
    began = time.monotonic()
    results = tmp_path / "results.json"
    stored = run_stages([stage], results, tmp_path / "work")
    assert time.monotonic() - began < 30
    assert json.loads(results.read_text()) == stored
    told = stored["stages"]["one"]["commands"]
    assert {name: entry["outcome"] for name, entry in told.items()} == {
        "fails": "failed",
        "hangs": "too long",
        "trains": "cut off",
        "absent": "failed",
        "works": "passed",
    }
    assert "why" in told["fails"]["output"]
    assert told["works"]["figures"] == {"speed": 2}
    assert len(table(stored, ["one"])) == 6


def test_a_result_is_in_the_file_before_the_next_program_begins(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    looks = (
        "import json, sys; "
        f"seen = json.load(open({str(results)!r}))['stages']['one']['commands']; "
        "sys.exit(seen['first']['outcome'] != 'passed')"
    )
    stage = Stage("one", "", (python("first", "pass"), python("second", looks)))
    stored = run_stages([stage], results, tmp_path / "work")
    assert stored["stages"]["one"]["commands"]["second"]["outcome"] == "passed"


def test_results_of_an_earlier_run_stay(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    for name in ("one", "two"):
        run_stages([Stage(name, "", (python("p", "pass"),))], results, tmp_path / "work")
    assert set(json.loads(results.read_text())["stages"]) == {"one", "two"}


def test_old_figures_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text('{"speed": 1}')
    command = python("fails", "raise SystemExit(1)", output=figures)
    assert run_command(command, tmp_path / "log")["figures"] is None


@pytest.mark.parametrize("rehearse", [True, False])
def test_every_stage_names_programs_that_exist(rehearse: bool, tmp_path: Path) -> None:
    """Modules are there, outputs differ, and all limits together fit a quarter of an hour."""
    place = Place(sys.executable, tmp_path, tmp_path / "bundle", tmp_path)
    with_its_plugin(tmp_path)
    every = stages(place, rehearse)
    commands = [command for stage in every for command in stage.commands]
    assert len({command.name for command in commands}) == len(commands)
    outputs = [command.output for command in commands if command.output]
    assert len(set(outputs)) == len(outputs)
    for command in commands:
        if command.arguments[1] == "-m":
            module = command.arguments[2].replace(".", "/")
            places = [Path(__file__).parents[2] / module, Path(fgdm_folder()) / module]
            found = [p for p in places if p.with_suffix(".py").is_file() or p.is_dir()]
            assert found, module


def with_its_plugin(kit: Path) -> None:
    (kit / "wheels").mkdir()
    (kit / "wheels" / "onnxruntime_ep_nv_tensorrt_rtx_cu13-0.5.0-py3-none-any.whl").touch()


def test_tensorrt_rtx_is_run_where_the_kit_has_it(tmp_path: Path) -> None:
    place = Place(sys.executable, tmp_path, tmp_path / "bundle", tmp_path)

    def programs() -> list[str]:
        (stage,) = (stage for stage in stages(place, rehearse=False) if stage.name == "contexts")
        return [command.name for command in stage.commands]

    assert programs() == []
    with_its_plugin(tmp_path)
    assert programs() == ["scenes-openings", "openings"]


def fgdm_folder() -> str:
    import fgdm  # noqa: PLC0415

    return str(Path(fgdm.__file__).parents[1])


def test_an_unknown_stage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--results", str(tmp_path / "r.json"), "--rehearse", "engine", "paint"])
    assert "no stage paint; there are card, kernels" in capsys.readouterr().err


@pytest.mark.nightly
def test_the_checks_of_arrays_pass_on_the_cpu(tmp_path: Path) -> None:
    """What a rehearsal runs: PyTorch's tensors on the host, in place of the card's."""
    output = tmp_path / "arrays.json"
    assert arrays.main(["--backend", "cpu", "--output", str(output)]) == 0
    told = json.loads(output.read_text())
    assert set(told) >= {"image", "start", "latents", "control image", "lifetime"}
