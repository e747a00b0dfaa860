"""A wheel of the sdist, installed where nothing else is, paints: each Python that fgdm supports."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.package.test_contents import ROOT, make_sdist

#: A folder in which bin/python3.10 and so on are looked for, where they aren't on the PATH.
INTERPRETERS = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"

pytestmark = pytest.mark.nightly


def interpreter(version: str) -> str:
    """Where a Python is that can make environments."""
    kept = sorted(INTERPRETERS.glob(f"{version}.*/bin/python{version}"))
    for python in [*kept, shutil.which(f"python{version}")]:
        command = [python or "", "-c", "import ensurepip, venv"]
        if python and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return str(python)
    pytest.skip(f"there is no Python {version} with venv, on the PATH or in {INTERPRETERS}")


def bare(home: Path) -> dict[str, str]:
    """The environment of a machine on which nobody has set anything, but for the network's."""
    network = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    proxies = {"http_proxy", "https_proxy", "no_proxy"}
    network |= {name: value for name, value in os.environ.items() if name.lower() in proxies}
    quiet = {"PIP_QUIET": "1", "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), **network, **quiet}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sdist(ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_pip_installs_a_wheel_that_paints(version: str, sdist: Path, tmp_path: Path) -> None:
    python = interpreter(version)

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            command, cwd=tmp_path, env=bare(tmp_path), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def pip(environment: str, *arguments: str | Path) -> None:
        run(tmp_path / environment / "bin/python", "-m", "pip", *arguments)

    for environment in ("making", "clean"):
        run(python, "-m", "venv", tmp_path / environment)
    pip("making", "wheel", "--no-deps", "--wheel-dir", tmp_path / "made", sdist)
    (wheel,) = (tmp_path / "made").iterdir()
    assert f"-cp{version.replace('.', '')}-" in wheel.name
    pip("clean", "install", f"{wheel}[cpu]")
    options = ("--candidates", "2", "--condition-steps", "2", "--num-inference-steps", "2")
    run(
        *(tmp_path / "clean/bin/fgdm", "generate", "two dogs beside a house"),
        *("--bundle", ROOT / "bundles/scenes", "--output", tmp_path / "out", *options),
    )
    with Image.open(tmp_path / "out/image.png") as painted:
        assert painted.size == (128, 128)  # the bundle's
