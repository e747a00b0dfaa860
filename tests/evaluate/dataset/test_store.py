"""A data set's folder: nothing torn, nothing twice, nothing of another recipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fgdm.errors import RequestError
from fgdm.evaluate.dataset import Made, read_head, read_rejected, read_samples
from fgdm.evaluate.dataset.store import Store
from fgdm.files import OutputError

from tests.evaluate.dataset.conftest import files_of

HEAD: dict[str, Any] = {"recipe": {"seed": 1, "options": {"a": [1]}}, "engine": {"version": "1"}}


def sample(index: int, content: bytes = b"png") -> Made:
    return Made(index, {"index": index}, {"image": content, "a/b": content})


def rejected(index: int) -> Made:
    return Made(index, {"index": index, "rejected": [{}]}, {})


def test_what_is_added_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    with Store(folder) as store:
        store.begin(HEAD, 3)
        for made in (sample(1), sample(12_345), rejected(2)):
            store.add(made)
        assert store.indices() == {1, 2, 12_345}
    assert set(files_of(folder)) == {
        "samples/00000/00000001/image.png",
        "samples/00000/00000001/a_b.png",
        "samples/00000/00000001/sample.json",
        "samples/00012/00012345/image.png",
        "samples/00012/00012345/a_b.png",
        "samples/00012/00012345/sample.json",
        "rejected/00000/00000002.json",
    }
    assert [record["index"] for _, record in read_samples(folder)] == [1, 12_345]
    assert [record["index"] for record in read_rejected(folder)] == [2]


def test_a_sample_that_is_there_stays(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add(sample(1, b"first"))
        store.add(sample(1, b"second"))
    assert files_of(tmp_path)["samples/00000/00000001/image.png"] == b"first"
    assert len(files_of(tmp_path)) == 3


@pytest.mark.parametrize("failing", ["mkdir", "rename", "fsync"])
def test_what_fails_on_the_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    with Store(tmp_path) as store:
        store.add(sample(1))
        before = files_of(tmp_path)

        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(
                "os.fsync" if failing == "fsync" else Path,
                *((fail,) if failing == "fsync" else (failing, fail)),
            )
            with pytest.raises(OutputError, match="No space left on device"):
                store.add(sample(2))
        assert files_of(tmp_path) == before and store.indices() == {1}
        store.add(sample(2))
        assert store.indices() == {1, 2}


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add(sample(1))
    torn = tmp_path / "samples/00000/.00000002.77.part"
    torn.mkdir()
    (torn / "image.png").write_bytes(b"half")
    (tmp_path / ".dataset.json.77.abcd.part").write_bytes(b"half")
    assert [record["index"] for _, record in read_samples(tmp_path)] == [1]
    with Store(tmp_path) as store:
        assert store.indices() == {1}
    assert not list(tmp_path.rglob("*.part"))


def test_hidden_files_of_others_stay(tmp_path: Path) -> None:
    others = [tmp_path / ".notes.part", tmp_path / "films/new/.film.part"]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"theirs")
    with Store(tmp_path) as store:
        store.add(sample(1))
    assert all(path.read_bytes() == b"theirs" for path in others)


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="holds films, and no data set"), Store(tmp_path) as store:
        store.begin(HEAD, 3)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "films").rename(tmp_path / ".films")
    with Store(tmp_path) as store:
        store.begin(HEAD, 3)
    (tmp_path / ".films").rename(tmp_path / "films")
    with Store(tmp_path) as store:
        store.begin(HEAD, 3)


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from fgdm.evaluate.dataset.store import Store\n"
        "with Store(Path(sys.argv[1])): print('in')"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with Store(tmp_path):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "another process writes to" in done.stderr and not done.stdout
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "in\n"


def test_another_recipe_is_refused_and_more_samples_are_not(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.begin(HEAD, 3)
        store.add(sample(1))
        store.begin(HEAD, 5)
        store.begin(HEAD, 2)
        assert read_head(tmp_path)["count"] == 5
        other = {"recipe": {"seed": 2, "options": {"a": [2]}}, "engine": HEAD["engine"]}
        with pytest.raises(RequestError, match=r"values of recipe\.options, recipe\.seed \(see"):
            store.begin(other, 3)
    assert read_head(tmp_path)["recipe"]["seed"] == 1


def test_a_run_that_made_nothing_binds_nobody(tmp_path: Path) -> None:
    other = {"recipe": {"seed": 2}, "engine": HEAD["engine"]}
    with Store(tmp_path) as store:
        store.begin(HEAD, 30)
    with Store(tmp_path) as store:
        store.begin(other, 2)
    head = read_head(tmp_path)
    assert head["recipe"] == {"seed": 2} and head["count"] == 2


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is this a data set's folder"):
        read_head(tmp_path)
    (tmp_path / "dataset.json").write_text('{"schema": 2}')
    with pytest.raises(RequestError, match="has the schema 2, this fgdm reads 1"):
        read_head(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't write to"), Store(tmp_path / "file"):
        pass
    with Store(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists(), "where nothing is written, nothing stays"
