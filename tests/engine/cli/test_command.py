"""Protects the command line: its messages, its exit codes, its commands."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fgdm
import pytest
from fgdm import errors, exits
from fgdm.cli import command, opening
from fgdm.termination import Terminated

from tests.engine.cli.fake_engine import FakeEngine


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RequestError("candidates must be from 1 to 1000, got 0"), 2),
        (errors.BundleError("no"), 3),
        (errors.BackendError("no"), 4),
        (errors.OutOfMemoryError("no"), 4),
        (MemoryError(), 4),
        (errors.CancelledError("no"), 130),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
        (errors.DeadlineError("no"), 6),
        (errors.QueueFullError("no"), 6),
        (errors.Error("no"), 1),
        (ZeroDivisionError("a bug"), 1),
    ],
)
def test_every_error_is_one_line_and_an_exit_code(
    engine: FakeEngine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    engine.error = error
    assert command.main(["generate", "a dog", "--json"]) == code
    assert exits.exit_code(error) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    last = printed.err.splitlines()[-1]
    ends = {130: "fgdm: cancelled", 143: "fgdm: terminated"}
    assert last.startswith(ends.get(code, "fgdm: error: "))
    assert "Traceback" not in printed.err
    assert list(tmp_path.iterdir()) == []  # no output folder, no half-written file


def test_one_table_of_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """In the help and in the documentation: every code that an error can get, and no other."""
    with pytest.raises(SystemExit, match=r"^0$"):
        command.main(["--help"])
    assert exits.table() in capsys.readouterr().out
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", readme, re.MULTILINE))
    assert {int(code): meaning for code, meaning in rows.items()} == exits.TABLE
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    others = {0, exits.OUTPUT, exits.TERMINATED}
    assert {exits.exit_code(kind()) for kind in kinds} | others == set(exits.TABLE)


def test_debug_shows_the_traceback(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FGDM_DEBUG", "1")
    engine.error = errors.RequestError("no")
    assert command.main(["generate", "a dog"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_messages_are_one_printable_line(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.error = errors.RequestError("got 'a\nb \x1b[31m \ud800 é'")
    assert command.main(["generate", "a dog", "--quiet"]) == 2
    assert capsys.readouterr().err == "fgdm: error: got 'a b \\x1b[31m \\ud800 é'\n"


def test_default_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FGDM_BUNDLE", "mine")
    assert opening.default_bundle() == Path("mine")
    monkeypatch.delenv("FGDM_BUNDLE")
    monkeypatch.setattr(opening, "__file__", str(tmp_path / "site-packages/fgdm/cli/x.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.BundleError, match="pass --bundle BUNDLE or set FGDM_BUNDLE"):
        opening.default_bundle()
    (tmp_path / "bundles/scenes").mkdir(parents=True)
    (tmp_path / "bundles/scenes/manifest.json").touch()
    assert opening.default_bundle() == tmp_path / "bundles/scenes"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(errors.BundleError, match="pass --bundle BUNDLE or set FGDM_BUNDLE"):
        opening.default_bundle()


def test_a_missing_core_is_a_backend_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fgdm._core", None)
    monkeypatch.delitem(sys.modules, "fgdm.engine", raising=False)
    monkeypatch.delitem(vars(fgdm), "Engine", raising=False)
    with pytest.raises(errors.BackendError, match=r"fgdm\._core"):
        opening.open_engine(argparse.Namespace(), Path("x"))


@pytest.mark.parametrize(
    "arguments",
    [[], ["paint"], ["generate"], ["generate", "a", "--candidates", "ten"], ["inspect"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        command.main(arguments)
    assert leaving.value.code == 2
    assert "usage: fgdm" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["generate"], ["inspect"], ["watermark"], ["doctor"]])
def test_help_has_examples(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        command.main([*words, "--help"])
    assert leaving.value.code == 0
    assert "examples:\n  fgdm " in capsys.readouterr().out


def test_inspect_by_command(
    make_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle()
    assert command.main(["inspect", str(bundle), "--verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True
    assert command.main(["inspect", str(bundle)]) == 0
    assert "backbone.onnx" in capsys.readouterr().out
    (bundle / "backbone.onnx").unlink()
    assert command.main(["inspect", str(bundle)]) == 3
    assert "copy it again or export it again" in capsys.readouterr().err


class ExportWithoutTorch:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {self.name!r}", name=self.name)


def test_export_without_its_extra_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "import_module", ExportWithoutTorch("torch"))
    assert command.main(["export", "x"]) == 2
    assert "pip install 'fgdm[export]'" in capsys.readouterr().err
    monkeypatch.setattr(command, "import_module", ExportWithoutTorch("fgdm.export.cli"))
    assert command.main(["export", "x"]) == 1  # a broken installation, not a missing extra


def test_export_gets_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("folder")

    def run(args: argparse.Namespace) -> None:
        given.append(args.folder)

    module = SimpleNamespace(add_arguments=add_arguments, run=run)
    monkeypatch.setattr(command, "import_module", lambda name: module)
    assert command.main(["export", "weights"]) == 0
    assert given == ["weights"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        command.main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith("fgdm 0.")
