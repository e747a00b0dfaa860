"""Engines of a Ray cluster make the same samples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import pytest
from fgdm.errors import RequestError
from fgdm.evaluate.dataset import Maker, make_dataset
from fgdm.evaluate.dataset.crew import Alone, Crew
from fgdm.evaluate.dataset.workers import Workers
from fgdm.evaluate.making import PictureMaker, Setup, make_missing
from fgdm.evaluate.plan import Plan
from fgdm.evaluate.run_folder import RunFolder
from fgdm.evaluate.settings import Setting
from fgdm.tuning.prompts import Prompt

pytest.importorskip("pyarrow", reason="pyarrow isn't installed: pip install '.[dataset]'")
pytest.importorskip("ray", reason="Ray isn't installed: pip install '.[cluster]'")

import ray
from fgdm.evaluate.dataset.cluster import Cluster, Place, ray_samples

from tests.evaluate.dataset.conftest import ENGINE, QUICK, SCENES, files_of, setup_of


@pytest.fixture(scope="module")
def running() -> Iterator[None]:
    """Ray on this machine, for as many engines as are asked for."""
    # Paths of its sockets must be short.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=200 * 2**20,
            _temp_dir=folder,
        )
        yield
        ray.shutdown()


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_two_engines_of_a_cluster_make_the_bytes_of_one(
    running: None, small: Path, tmp_path: Path
) -> None:
    setup = setup_of(optional=("depth",))
    crew = partial(Cluster, place=Place(engines=2))
    assert make_dataset(setup, tmp_path, 4, in_flight=2, crew=crew).made == 4
    assert make_dataset(setup, tmp_path, 6, in_flight=2, crew=crew).made == 2
    assert files_of(tmp_path) == files_of(small)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_a_ray_dataset_has_what_a_folder_has(running: None, small: Path) -> None:
    rows = ray_samples(setup_of(optional=("depth",)), [1, 5], Place()).take_all()
    assert sorted(row["index"] for row in rows) == [1, 5]
    for row in rows:
        folder = small / "samples" / "00000" / f"{row['index']:08}"
        for name in ("image", "segmentation", "depth"):
            assert row[name] == (folder / f"{name}.png").read_bytes()
        assert row["normal"] is None


@pytest.mark.filterwarnings("ignore")
def test_what_an_engine_refuses_is_told(running: None, tmp_path: Path) -> None:
    crew = partial(Cluster, place=Place())
    with pytest.raises(RequestError, match="no factor 'height'"):
        make_dataset(setup_of(optional=("height",)), tmp_path / "data", 2, crew=crew)
    with pytest.raises(RequestError, match="engines is 0"):
        Place(engines=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.nightly
def test_an_evaluation_s_pictures_are_the_same_from_everybody(
    running: None, maker: Maker, tmp_path: Path
) -> None:
    """Of `fgdm evaluate`: an engine here, processes, and a cluster."""
    setup = Setup(str(SCENES), ENGINE)
    prompts = [Prompt("a dog"), Prompt("a house under a tree", ("house", "tree"))]
    settings = [Setting("one", QUICK), Setting("two", {**QUICK, "candidates": 1})]
    crews: dict[str, Callable[[], AbstractContextManager[Crew]]] = {
        "here": lambda: nullcontext(Alone(PictureMaker(maker.engine))),
        "processes": lambda: Workers(setup, 2),
        "cluster": lambda: Cluster(setup, Place()),
    }
    pictures = {}
    for name, opened in crews.items():
        folder = tmp_path / name
        with opened() as crew:
            run = RunFolder.opened(folder, Plan.of(crew.identity, prompts, settings, 3))
            outcome = make_missing(crew.make, run)
        assert (
            outcome.pictures == 4 and outcome.seconds > 0 < outcome.processor and run.is_complete()
        )
        assert make_missing(crew.make, run) == (0, 0.0, 0.0)
        files = sorted(folder.rglob("*.png"))
        pictures[name] = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    assert len(pictures["here"]) == 4 * 3
    assert pictures["here"] == pictures["processes"] == pictures["cluster"]
