"""Protects that doctor's verdicts follow from what is there, and that nothing missing breaks it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fgdm import machine
from fgdm.cli import doctor
from fgdm.cli.doctor import Capability, Machine, capabilities

NOTHING = Machine(
    version="0.1.0",
    python="3.11.7",
    system="Linux x86_64, glibc 2.36",
    core_problem="No module named 'fgdm._core'",
    core_tensorrt="",
    attention="",
    runtimes=(),
    plugins=(),
    devices=(),
    plugin_problems=(),
    processor=machine.Processor("some processor", 2, ("avx2",)),
    gpus=(),
    libraries=dict.fromkeys(["CUDA driver", "cuDNN", "CUDA kernels", "TensorRT", "TensorRT-RTX"]),
    tools={"g++": None, "cmake": None, "nvcc": None},
    packages=dict.fromkeys(
        [
            *doctor._EXPORT_PACKAGES,
            *doctor._TRAIN_PACKAGES,
            *doctor._TENSORRT_PACKAGES,
        ]
    ),
)
EVERYTHING = replace(
    NOTHING,
    core_problem=None,
    core_tensorrt="10.3",
    attention="avx2",
    runtimes=(
        machine.Runtime("onnxruntime-gpu", "1.26.0", "/x/libonnxruntime.so.1", ("cpu", "cuda")),
        machine.Runtime("onnxruntime-openvino", "1.24.0", "/y/lib.so", ("cpu", "openvino")),
    ),
    plugins=(machine.Plugin("onnxruntime-ep-nv-tensorrt-rtx-cu13", "0.5.0", "/z", "tensorrt-rtx"),),
    devices=(machine.Device("NvTensorRTRTXExecutionProvider", "NVIDIA", "0.5.0", "GPU", ""),),
    processor=machine.Processor("some processor", 2, ("avx2", "amx_bf16")),
    gpus=(machine.Gpu("some GPU", "8 GiB", "1.2", "8.9"),),
    libraries=dict.fromkeys(NOTHING.libraries, "lib.so"),
    tools=dict.fromkeys(NOTHING.tools, "1.0"),
    packages=dict.fromkeys(NOTHING.packages, "1.0"),
)


ON_GPUS = {
    "generate with CUDA",
    "generate with TensorRT",
    "generate with TensorRT-RTX",
    "keep rows on the GPU between graphs",
}


def by_name(here: Machine) -> dict[str, Capability]:
    return {item.name: item for item in capabilities(here)}


def test_a_bare_machine_can_do_nothing_and_is_told_how() -> None:
    for item in capabilities(NOTHING):
        assert not item.ready
    generate = by_name(NOTHING)["generate on CPU"]
    assert generate.missing == ("the compiled core", "ONNX Runtime")
    assert generate.commands == ("pip install .", "pip install onnxruntime")
    assert by_name(NOTHING)["export bundles"].commands == (
        "pip install onnxruntime",
        "pip install 'fgdm[export]'",
    )


def test_a_full_machine_can_do_everything() -> None:
    assert all(item.ready and not item.commands for item in capabilities(EVERYTHING))


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"core_problem": "no"}, {"generate on CPU", "generate on CPU in bfloat16"}),
        ({"gpus": ()}, ON_GPUS),
        ({"tools": {**EVERYTHING.tools, "nvcc": None}}, {"build the CUDA kernels"}),
        ({"packages": {**EVERYTHING.packages, "inflect": None}}, {"export bundles"}),
        ({"packages": {**EVERYTHING.packages, "torch": None}}, {"export bundles", "train"}),
        (
            {"packages": {**EVERYTHING.packages, "jsonschema": None}},
            {"export bundles", "build TensorRT plans"},
        ),
        ({"processor": NOTHING.processor}, {"generate on CPU in bfloat16"}),
    ],
)
def test_one_missing_thing_costs_what_needs_it(change: dict[str, object], lost: set[str]) -> None:
    here = replace(EVERYTHING, **change)  # type: ignore[arg-type]
    unready = {item.name for item in capabilities(here) if not item.ready}
    assert unready == lost | (ON_GPUS if "core_problem" in change else set())


def test_nobody_installs_openvino_for_a_processor_that_gains_nothing() -> None:
    """As docs/precision.md measured: vectors of bfloat16 are no faster than float32."""
    processor = machine.Processor("some Xeon", 2, ("avx2", "avx512_bf16"))
    here = replace(EVERYTHING, processor=processor, runtimes=EVERYTHING.runtimes[:1])
    bfloat16 = by_name(here)["generate on CPU in bfloat16"]
    assert not bfloat16.ready and not bfloat16.commands
    assert by_name(replace(here, processor=EVERYTHING.processor))[bfloat16.name].commands


@pytest.mark.parametrize("here", [NOTHING, EVERYTHING])
def test_report_and_lines_agree(here: Machine) -> None:
    report = json.loads(json.dumps(doctor.report(here)))
    text = "\n".join(doctor.lines(here))
    assert report["can_generate"] is (here is EVERYTHING)
    for item in report["capabilities"]:
        assert f"[{'x' if item['ready'] else ' '}] {item['name']}" in text


@pytest.mark.parametrize("as_json", [False, True])
def test_exit_code_says_whether_this_machine_can_generate(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    code = doctor.run(argparse.Namespace(json=as_json))
    printed = capsys.readouterr().out
    assert code == (0 if doctor.capabilities(doctor.look())[0].ready else 1)
    if as_json:
        assert json.loads(printed)["python"] == sys.version.split()[0]
    else:
        assert "generate on CPU" in printed


def test_an_empty_path_finds_no_tools_and_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    here = doctor.look()
    assert here.tools == {"g++": None, "cmake": None, "nvcc": None}
    list(doctor.lines(here))


def test_a_plugin_needs_a_runtime_that_takes_it() -> None:
    old = machine.Runtime("onnxruntime", "1.22.1", "/old", ("cpu",))
    rtx = by_name(replace(EVERYTHING, runtimes=(old,)))["generate with TensorRT-RTX"]
    assert rtx.missing == ("ONNX Runtime with TensorRT-RTX's plugin",)
    assert "onnxruntime>=1.24" in rtx.commands[0]


def script(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def test_gpus_come_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "nvidia-smi", "echo 'NVIDIA L4, 23034 MiB, 550.54.15, 8.9'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.find_gpus() == (machine.Gpu("NVIDIA L4", "23034 MiB", "550.54.15", "8.9"),)


def test_gpus_come_from_the_driver_without_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t NVIDIA Orin\nIRQ: 1\n")
    assert [gpu.name for gpu in machine.find_gpus(tmp_path)] == ["NVIDIA Orin"]
    assert machine.find_gpus(tmp_path / "none") == ()


def test_a_failing_command_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    script(tmp_path, "g++", "echo 'g++ (Debian 12.2.0-14) 12.2.0'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.find_gpus(tmp_path / "none") == ()
    assert machine.tool_version("g++") == "12.2.0"


def test_processor_features_come_from_cpuinfo(tmp_path: Path) -> None:
    (tmp_path / "x86").write_text("model name\t: Xeon\nflags\t\t: fpu avx2 amx_bf16 avx512f\n")
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    x86 = machine.find_processor(tmp_path / "x86")
    assert (x86.model, x86.features, x86.bfloat16) == (
        "Xeon",
        ("avx2", "avx512f", "amx_bf16"),
        True,
    )
    assert machine.find_processor(tmp_path / "arm").features == ("asimd", "bf16")
    assert machine.find_processor(tmp_path / "none").features == ()


def record_wheel(site: Path, name: str, *files: str) -> None:
    """What an installer notes of a wheel 1.24.0 with these files."""
    info = site / f"{name}-1.24.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.24.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_runtimes_are_found_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capi = tmp_path / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    for name in ("libonnxruntime.so.1.24.0", "libonnxruntime_providers_shared.so"):
        (capi / name).touch()
    (capi / "libonnxruntime_providers_openvino.so").touch()
    record_wheel(
        tmp_path,
        "onnxruntime_openvino",
        "onnxruntime/capi/libonnxruntime.so.1.24.0",
        "onnxruntime/capi/libonnxruntime_providers_openvino.so",
        "onnxruntime/capi/libonnxruntime_providers_shared.so",
        "onnxruntime/capi/libonnxruntime_providers_cuda.so",  # recorded, but not there
    )
    (capi / "libonnxruntime_providers_tensorrt.so").touch()  # there, but of another wheel
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (runtime,) = machine.find_runtimes()
    assert runtime.package == "onnxruntime-openvino" and runtime.version == "1.24.0"
    assert runtime.library == str(capi / "libonnxruntime.so.1.24.0")
    assert runtime.providers == ("cpu", "openvino")


def test_libraries_in_wheels_are_found_and_opened_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = "nvidia/cu13/lib"
    record_wheel(
        tmp_path, "nvidia_cublas", f"{folder}/libcublas.so.13", f"{folder}/libcublasLt.so.13"
    )
    record_wheel(tmp_path, "nvidia_cuda_runtime", f"{folder}/libcudart.so.13", "notes.txt")
    record_wheel(tmp_path, "tensorrt_cu13_libs", "tensorrt_libs/libnvinfer.so.10")
    record_wheel(tmp_path, "another", "lib/libcudnn.so.9", "lib/libnvinfer.so.11")
    for record in tmp_path.glob("*/RECORD"):
        for file in record.read_text().replace(",,", "").split():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()  # from Python 3.12 on, files that are missing aren't told
    opened: list[str] = []
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(machine, "loadable", opened.extend)
    machine.open_cuda_libraries()
    assert [Path(path).name for path in opened] == [
        "libcudart.so.13",
        "libcublasLt.so.13",
        "libcublas.so.13",
    ]
    for headers, found in (("10.3", str(tmp_path / "tensorrt_libs/libnvinfer.so.10")), ("", "")):
        monkeypatch.setattr(machine, "core_tensorrt", lambda headers=headers: headers)
        assert machine.find_tensorrt() == found


def test_the_cuda_provider_lies_beside_its_runtime(tmp_path: Path) -> None:
    library = str(tmp_path / "libonnxruntime.so.1")
    assert not machine.provides_cuda(library) and not machine.provides_cuda("")
    (tmp_path / "libonnxruntime_providers_cuda.so").touch()
    assert machine.provides_cuda(library)


def test_the_library_that_serves_the_backend_is_chosen() -> None:
    cpu = machine.Runtime("onnxruntime", "1.31.1", "/cpu", ("cpu",))
    openvino = machine.Runtime("onnxruntime-openvino", "1.24.0", "/openvino", ("cpu", "openvino"))
    empty = machine.Runtime("onnxruntime-gpu", "1.26.0", None, ())
    installed = [empty, cpu, openvino]
    assert machine.choose_library(installed, "auto") == "/openvino"
    assert machine.choose_library(installed, "openvino") == "/openvino"
    assert machine.choose_library(installed, "cpu") == "/cpu"
    assert machine.choose_library(installed, "cuda") == "/cpu"  # the core says what it lacks
    assert machine.choose_library([empty], "auto") == ""


def test_loadable_takes_the_first_that_loads() -> None:
    assert machine.loadable(["libnone-of-that-name.so.9", "libc.so.6"]) == "libc.so.6"
    assert machine.loadable(["libnone-of-that-name.so.9"]) is None


def test_the_tensorrt_backend_needs_headers_when_building_and_a_library_when_running() -> None:
    assert by_name(EVERYTHING)["generate with TensorRT"].ready
    without_headers = by_name(replace(EVERYTHING, core_tensorrt=""))["generate with TensorRT"]
    assert without_headers.missing == ("a core built with TensorRT's headers",)
    assert "FGDM_TENSORRT_INCLUDE" in without_headers.commands[0]
    libraries = {**EVERYTHING.libraries, "TensorRT": None}
    without_library = by_name(replace(EVERYTHING, libraries=libraries))["generate with TensorRT"]
    assert without_library.missing == ("TensorRT",)


def test_no_library_is_not_the_program_itself() -> None:
    assert machine.loadable([""]) is None
