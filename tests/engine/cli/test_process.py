"""Protects the command as a process: its streams closed or full, interrupted while it begins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fgdm import exits


def run_in_shell(redirection: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    shell = ["bash", "-c", f'"$@" {redirection}', "_", sys.executable, "-m", "fgdm"]
    return subprocess.run([*shell, *command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_closed_and_full_streams_are_no_error(
    make_bundle: Callable[..., Path], redirection: str
) -> None:
    done = run_in_shell(redirection, ["inspect", str(make_bundle())])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_on_a_full_disk_is_told(
    make_bundle: Callable[..., Path], unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    inspect = ["inspect", str(make_bundle()), "--json"]
    for command in (inspect, ["--help"], ["generate", "--help"], ["--version"]):
        done = run_in_shell(">/dev/full", command)
        assert done.returncode == exits.OUTPUT
        assert done.stderr == (
            "fgdm: error: can't write to standard output: No space left on device; send it where "
            "there is room\n"
        )


def test_a_closed_standard_input_is_an_empty_prompt() -> None:
    done = run_in_shell("<&-", ["generate", "-", "--bundle", "no", "--output", "/dev/null/x"])
    assert done.returncode in (exits.REQUEST, exits.OUTPUT)
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_modules_are_imported_shows_no_traceback() -> None:
    """A module that the command imports is interrupted, as the first of them may be."""
    script = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'fgdm.cli.profile': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from fgdm.__main__ import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (exits.CANCELLED, "fgdm: cancelled\n")


def test_doctor_and_others_need_neither_numpy_nor_pillow() -> None:
    script = "import sys, fgdm.cli.command; sys.exit(bool({'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_closed_pipe_is_no_traceback(make_bundle: Callable[..., Path]) -> None:
    command = [sys.executable, "-m", "fgdm", "inspect", str(make_bundle()), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == exits.OUTPUT
