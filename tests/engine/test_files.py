"""Protects the promise that output is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fgdm.errors import RequestError
from fgdm.files import OutputError, OutputFolder, read_regular, write_all


def test_only_regular_files_of_a_limited_size_are_read(tmp_path: Path) -> None:
    """At once: a pipe without a writer would be waited for, a device read for ever."""
    (tmp_path / "text").write_bytes(b"12345")
    assert read_regular(tmp_path / "text", 5) == b"12345"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, problem in (
        ("pipe", "it is no regular file"),
        ("loop", "Too many levels of symbolic links"),
        ("device", "it is no regular file"),
        (".", "Is a directory"),
        ("absent", "No such file"),
    ):
        with pytest.raises(OSError, match=problem):
            read_regular(tmp_path / name)
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_regular(tmp_path / "text", 4)


def test_writes_all_files_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with OutputFolder(folder, ["x", "y"]) as output:
        assert list(folder.iterdir()) == []
        written = output.write({"x": b"1", "y": b"22"})
    assert written == [folder / "x", folder / "y"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"x": b"1", "y": b"22"}


def test_new_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        (path,) = write_all({tmp_path / "x": b""})
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("place", ["file", "file/below", "file/below/further", "nul\0"])
def test_unwritable_place_is_known_before_the_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(OutputError, match="choose another output folder"):
        OutputFolder(tmp_path / place, ["x"]).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert issubclass(OutputError, RequestError)


def test_read_only_folder_is_known_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # as root, a mode of 0o555 wouldn't
    with pytest.raises(OutputError, match="Permission denied"):
        OutputFolder(tmp_path / "new", ["x"]).__enter__()
    assert not (tmp_path / "new").exists()


def test_target_that_is_a_folder_is_known_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out" / "image.png").mkdir(parents=True)
    with pytest.raises(OutputError, match="is a folder"):
        OutputFolder(tmp_path / "out", ["image.png"]).__enter__()


def test_what_an_earlier_run_left_goes(tmp_path: Path) -> None:
    for name in ("image.png", "map.png", "map_depth.png", "mine.txt"):
        (tmp_path / name).write_bytes(b"old")
    with OutputFolder(tmp_path, ["image.png", "map.png"]) as output:
        output.write({"image.png": b"new"}, absent=["map_depth.png", "map_pose.png"])
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert contents == {"image.png": b"new", "mine.txt": b"old"}


def test_a_further_target_that_is_a_folder_leaves_none_written(tmp_path: Path) -> None:
    (tmp_path / "map_depth.png").mkdir()
    output = OutputFolder(tmp_path, ["image.png"])
    with output, pytest.raises(OutputError, match="is a folder"):
        output.write({"image.png": b"1", "map_depth.png": b"2"})
    assert not (tmp_path / "image.png").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt("of the work"), RequestError("of the work")])
def test_created_folders_go_when_the_work_fails(tmp_path: Path, error: BaseException) -> None:
    with (
        pytest.raises(type(error), match="of the work"),
        OutputFolder(tmp_path / "a" / "b", ["x"]),
    ):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_folders_are_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def interrupted(path: Path, **options: Any) -> None:
        if path.name == "c":
            raise KeyboardInterrupt
        mkdir(path, **options)
        if path.name == "b":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)
    for folder in ("a/b", "a/c"):
        with pytest.raises(KeyboardInterrupt):
            OutputFolder(tmp_path / folder, ["x"]).__enter__()
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"old")
    calls = []

    def fill_up(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(OutputError, match="No space left"):
        write_all({tmp_path / "x": b"new", tmp_path / "y": b"new"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"old"}


def test_an_interrupt_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_all({tmp_path / "x": b"new"})
    assert list(tmp_path.iterdir()) == []
