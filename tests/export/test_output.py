"""A bundle appears whole under its name, whoever else writes there and whenever Ctrl-C comes."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.output import replacing


def write(output: Path, name: str, overwrite: bool = True) -> None:
    """A bundle of two files."""
    with replacing(output, overwrite) as folder:
        for file in ("manifest.json", "weights"):
            (folder / file).write_text(name)


def name_of(output: Path) -> str:
    (name,) = {(output / file).read_text() for file in ("manifest.json", "weights")}
    return name


def test_an_interruption_leaves_no_folder_that_was_made(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "new/b", False) as folder:
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_what_came_to_be_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    output = tmp_path / "b"
    with pytest.raises(ExportError, match="b exists"), replacing(output, False):
        write(output, "the other", overwrite=False)
    assert name_of(output) == "the other"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_of_many_at_once_the_last_is_there(tmp_path: Path) -> None:
    output = tmp_path / "b"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write(output, str(number)), range(200)))
    assert name_of(output).isdecimal()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("there", "moment", "left"),
    [
        (False, 0, []),
        (False, 1, ["new"]),
        (True, 0, ["old"]),
        (True, 1, ["old"]),
        (True, 2, ["old"]),
        (True, 3, ["new"]),
    ],
)
def test_ctrl_c_around_any_rename_leaves_one_of_the_two(
    there: bool, moment: int, left: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after the first rename, before and after the second."""
    rename, moments = Path.rename, itertools.count()

    def interrupt() -> None:
        if next(moments) == moment:
            raise KeyboardInterrupt

    def interrupted(path: Path, target: Path) -> None:
        interrupt()
        rename(path, target)
        interrupt()

    if there:
        write(tmp_path / "b", "old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "b", "new")
    assert [name_of(path) for path in tmp_path.iterdir()] == left


def test_behind_a_link_the_folder_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "b", "old")
    (tmp_path / "link").symlink_to("b")
    write(tmp_path / "link", "new")
    assert name_of(tmp_path / "b") == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "link"]
