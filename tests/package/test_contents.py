"""The wheel and the sdist hold what they are meant to, nothing of the machine they come from."""

from __future__ import annotations

import configparser
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).parents[2]
VERSION = version("fgdm")
PACKAGE = {
    "engine": "fgdm",
    "export": "fgdm/export",
    "train": "fgdm/train",
    "evaluate": "fgdm/evaluate",
}
AT_THE_TOP = ["CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml"]
# Lies about in a working copy and belongs to nobody else.
STRAY = [
    "notes.txt",
    "build/tests/CMakeCache.txt",
    "bundles/scenes/plans/backbone.plan",
    "cpp/src/.engine.cpp.swp",
    "engine/__pycache__/engine.cpython-311.pyc",
    "engine/manifest.json.partial",
    "export/palettes/colors.py.orig",
    "runs/scenes/state.safetensors",
    "train/runs/config.json",
]


def sources(*paths: str) -> set[str]:
    """The repository's files below the paths, relative to its root; new ones count too."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing says which files are the repository's")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.splitlines() if (ROOT / name).exists()}


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return {entry.filename for entry in opened.infolist()}


def make_sdist(folder: Path, output: Path) -> Path:
    """The sdist of the sources in `folder`."""
    program = (
        "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", program, output], cwd=folder, check=True)
    (sdist,) = output.glob("fgdm-*.tar.gz")
    return sdist


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel that this environment was made from."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    found = sorted((ROOT / "build/wheel").glob(f"fgdm-{VERSION}-{tag}-*.whl"))
    if not found:
        pytest.skip("build/wheel has no wheel for this Python: make test builds it")
    return found[0]


@pytest.fixture(scope="module")
def working_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's files, without git, with files that belong to nobody else between them."""
    folder = tmp_path_factory.mktemp("working_copy")
    others = ("licenses", "cpp", "kernels", "tests", "docs", ".gitignore")
    for name in sources(*PACKAGE, *AT_THE_TOP, *others):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    for name in STRAY:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


@pytest.fixture(scope="module")
def sdist(working_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sdist(working_copy, tmp_path_factory.mktemp("sdist"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    files = names_in(wheel)
    compiled = {name for name in files if re.fullmatch(r"fgdm/_core\.[\w-]+\.so", name)}
    assert len(compiled) == 1
    about = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    about |= {f"licenses/{name}" for name in sources("licenses")}
    package = {
        name.replace(folder, PACKAGE[folder], 1) for folder in PACKAGE for name in sources(folder)
    }
    assert {"fgdm/py.typed", "fgdm/_core.pyi", "fgdm/result.schema.json"} < package
    assert files == package | compiled | {f"fgdm-{VERSION}.dist-info/{name}" for name in about}


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        about = {
            name.partition("/")[2]: opened.read(name).decode()
            for name in opened.namelist()
            if ".dist-info/" in name
        }
    metadata = Parser().parsestr(about["METADATA"])
    assert (metadata["Name"], metadata["Version"]) == ("fgdm", VERSION)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert about["licenses/LICENSE"] == (ROOT / "LICENSE").read_text()
    assert "Root-Is-Purelib: false" in about["WHEEL"]
    commands = configparser.ConfigParser()
    commands.read_string(about["entry_points.txt"])
    assert {name: dict(commands[name]) for name in commands.sections()} == {
        "console_scripts": {"fgdm": "fgdm.__main__:main"}
    }
    for name, text in about.items():
        assert str(ROOT) not in text and sys.prefix not in text, name


def test_the_wheel_has_the_notices_of_what_is_compiled_in(wheel: Path) -> None:
    """pybind11's is its own; the package of JSON's headers has only its packager's."""
    with zipfile.ZipFile(wheel) as opened:
        pybind, json = (
            opened.read(f"fgdm-{VERSION}.dist-info/licenses/licenses/{name}.txt").decode()
            for name in ("pybind11", "nlohmann-json")
        )
    assert pybind == distribution("pybind11").read_text("licenses/LICENSE")
    holders = {
        holder
        for header in distribution("nlohmann-json").files or ()
        if header.suffix == ".hpp"
        for holder in re.findall(r"SPDX-FileCopyrightText: (.*?)(?: <|$)", header.read_text(), re.M)
    }
    assert holders and all(f"Copyright (c) {holder}\n" in json for holder in holders)


def test_the_compiled_module_knows_nothing_of_the_machine_that_built_it(wheel: Path) -> None:
    """It finds its libraries on any machine, and names no file of its own sources."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".so"))
        module = opened.read(name)
    elf = ELFFile(io.BytesIO(module))
    dynamic = list(elf.get_section_by_name(".dynamic").iter_tags())
    assert not [tag for tag in dynamic if tag.entry.d_tag in {"DT_RPATH", "DT_RUNPATH"}]
    needed = {tag.needed.split(".so")[0] for tag in dynamic if tag.entry.d_tag == "DT_NEEDED"}
    assert needed <= {"libstdc++", "libm", "libgcc_s", "libc", "libpthread", "libdl"} | {
        library for library in needed if library.startswith("ld-linux-")
    }
    assert elf.get_section_by_name(".debug_info") is None
    assert not re.findall(rb"[\w./-]+\.(?:cpp|hpp)\b", module)
    for path in (str(ROOT), str(Path.home()), sys.prefix, tempfile.gettempdir()):
        assert f"{path.rstrip('/')}/".encode() not in module or path == "/"


def test_the_compiled_module_exports_its_entries_alone(wheel: Path) -> None:
    """Python's, and that of a library of custom ops. Another copy of the core, or of a library that
    is compiled in, may be in the same process."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".so"))
        symbols = ELFFile(io.BytesIO(opened.read(name))).get_section_by_name(".dynsym")
    defined = {one.name for one in symbols.iter_symbols() if one.entry.st_shndx != "SHN_UNDEF"}
    assert defined == {"PyInit__core", "RegisterCustomOps"}


def test_the_sdist_holds_what_a_build_needs_and_nothing_else(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        files = {entry.name for entry in opened.getmembers() if not entry.isdir()}
    expected = sources(*PACKAGE, *AT_THE_TOP, "licenses", "cpp", "kernels") | {"PKG-INFO"}
    assert files == {f"fgdm-{VERSION}/{name}" for name in expected}


@pytest.mark.nightly
def test_the_sdist_alone_makes_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """Also where somebody's own files lie between the sources."""
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path, filter="data")
    folder = tmp_path / f"fgdm-{VERSION}"
    for name in STRAY:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", tmp_path / "made", folder], cwd=tmp_path, check=True)
    (made,) = (tmp_path / "made").iterdir()
    assert made.name == wheel.name
    assert names_in(made) == names_in(wheel)
