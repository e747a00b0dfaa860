"""`make abi` on three lines: additions are fine, other changes are told and an error."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "cpp/tools/abi.sh"
CMAKE = shutil.which("cmake") or str(Path(sys.executable).with_name("cmake"))
PROJECT = """\
cmake_minimum_required(VERSION 3.22)
project(small CXX)
add_library(fgdm_shared SHARED one.cpp)
target_include_directories(fgdm_shared PRIVATE cpp/include)
set_target_properties(fgdm_shared PROPERTIES OUTPUT_NAME fgdm VERSION 0.1.0
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/cpp/src)
"""

pytestmark = [
    pytest.mark.skipif(shutil.which("abidiff") is None, reason="needs abidiff (abigail-tools)"),
    pytest.mark.skipif(shutil.which("git") is None, reason="needs git"),
    pytest.mark.skipif(not Path(CMAKE).is_file(), reason="needs CMake"),
]


def write(root: Path, members: str, functions: str = "") -> None:
    (root / "cpp/include/one.hpp").write_text(
        f"#pragma once\nstruct One {{ {members} }};\nint of(One one);\n{functions}\n"
    )
    bodies = functions.replace(";", " { return 1; }")
    (root / "one.cpp").write_text(
        f'#include "one.hpp"\nint of(One one) {{ return one.a; }}\n{bodies}\n'
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one commit, and the script in it."""
    for folder in ("cpp/tools", "cpp/include"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "cpp/tools")
    (tmp_path / "CMakeLists.txt").write_text(PROJECT)
    write(tmp_path, "int a;")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "one"]):
        name = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
        subprocess.run(["git", *name, *words], cwd=tmp_path, check=True)
    return tmp_path


def abi(project: Path, commit: str = "HEAD") -> tuple[int, str]:
    command = ["bash", str(project / "cpp/tools/abi.sh"), commit]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={"CMAKE": CMAKE, "PATH": "/usr/bin:/bin"},
    )
    return done.returncode, done.stdout + done.stderr


def test_the_same_and_more_are_fine_and_another_layout_is_not(project: Path) -> None:
    code, words = abi(project)
    assert (code, "as at HEAD" in words) == (0, True), words
    write(project, "int a;", "int more();")
    code, words = abi(project)
    assert code == 0 and "more()" in words and "programs linked to it run on" in words
    write(project, "int a, b;", "int more();")
    code, words = abi(project)
    assert code == 1 and "int b" in words and "must be compiled again" in words


def test_without_a_commit_it_says_what_to_name(project: Path) -> None:
    assert abi(project, "") == (
        2,
        "abi: there is no release tag; name a commit: make abi ABI_REF=COMMIT\n",
    )
    assert abi(project, "absent") == (2, "abi: absent is no commit here\n")
