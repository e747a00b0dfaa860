"""Protects that what can't be built says what to install or which GPU to name."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from fgdm import machine
from fgdm.export.errors import ExportError
from fgdm.export.plans.runtimes import TARGETS, choose_gpus, load

TENSORRT, RTX = TARGETS["tensorrt"], TARGETS["tensorrt-rtx"]
RTX_MODULE = SimpleNamespace(
    __version__="1.7.1.116",
    ComputeCapability=SimpleNamespace(NONE=0, CURRENT=1, SM75=75, SM86=86, SM89=89, SM120=120),
)


def gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: str) -> None:
    found = tuple(machine.Gpu("some GPU", "8 GiB", "1", each) for each in capabilities)
    monkeypatch.setattr(machine, "find_gpus", lambda: found)


def test_a_missing_runtime_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(ExportError, match=r"pip install 'tensorrt-rtx-cu13>=1\.7,<2'"):
        load(RTX)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ExportError, match=r"pip install 'tensorrt>=10\.3,<12'.*Jetson"):
        load(TENSORRT)


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0.19", "12.0.0"])
def test_a_version_that_is_not_supported(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    module = SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    with pytest.raises(ExportError, match=f"tensorrt {version} is installed; expected 10.3 to 11"):
        load(TENSORRT)


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.4.1"])
def test_versions_that_are(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=version))
    assert load(TENSORRT).__version__ == version


def test_ahead_of_time_gpus_are_named_and_sorted() -> None:
    assert choose_gpus(RTX, RTX_MODULE, ["sm_120", "sm_86", "sm_86"]) == ("sm_86", "sm_120")
    listed = "sm_75, sm_86, sm_89, sm_120"
    with pytest.raises(ExportError, match=f"name them.*{listed}"):
        choose_gpus(RTX, RTX_MODULE, [])
    with pytest.raises(ExportError, match=f"can't build for sm_90; it knows {listed}"):
        choose_gpus(RTX, RTX_MODULE, ["sm_86", "sm_90"])


def test_tensorrt_builds_for_the_gpu_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, "9.0")
    assert choose_gpus(TENSORRT, None, []) == ("sm_90",)
    assert choose_gpus(TENSORRT, None, ["sm_90"]) == ("sm_90",)
    with pytest.raises(ExportError, match="own GPU, which is sm_90"):
        choose_gpus(TENSORRT, None, ["sm_89"])


def test_a_gpu_that_nvidia_smi_does_not_know_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, "[N/A]")
    assert choose_gpus(TENSORRT, None, ["sm_87"]) == ("sm_87",)
    with pytest.raises(ExportError, match="one GPU, got sm_86,sm_87"):
        choose_gpus(TENSORRT, None, ["sm_86", "sm_87"])
    gpus(monkeypatch)
    with pytest.raises(ExportError, match=r"no NVIDIA GPU was found.*tensorrt-rtx"):
        choose_gpus(TENSORRT, None, [])
