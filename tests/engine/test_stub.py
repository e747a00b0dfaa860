"""Protects that the stub of the compiled module says what the module has."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytest.importorskip("mypy", reason="mypy isn't installed")

# What a stub can't say: pybind11's metaclass, and classes that only the core makes.
EXPECTED = re.compile(r"\.\w+ is inconsistent, metaclass differs$|\.__init__ is inconsistent, stub")


def test_the_stub_is_the_compiled_modules() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "--concise", "fgdm._core"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    unexpected = [line for line in lines if not EXPECTED.search(line)]
    assert not unexpected, "\n".join(unexpected)
