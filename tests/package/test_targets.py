"""What the Makefile's targets need is there, in whatever order a newcomer asks for them."""

from __future__ import annotations

import subprocess

import pytest

from tests.package.test_contents import ROOT


def recipe(target: str, *, changed: str) -> str:
    """What make would run for a target, were one file newer than it and the wheel built already."""
    command = ["make", "--dry-run", "--old-file", "build/wheel/.ready", "--what-if", changed]
    made = subprocess.run(
        [*command, target], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    return made.stdout


@pytest.mark.parametrize("program", ["cmake", "ninja", "nlohmann-json", "pybind11"])
def test_the_tests_environment_gets_its_build_tools_if_the_demo_built_the_wheel(
    program: str,
) -> None:
    lines = recipe(".venv-test/.ready", changed="constraints.txt").splitlines()
    installs = [line for line in lines if line.startswith(".venv-test/bin/python -m pip install")]
    assert any(program in line.split() for line in installs)
