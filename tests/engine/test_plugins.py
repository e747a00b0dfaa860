"""Execution providers that ONNX Runtime loads at run time: OpenVINO's runs here, others are refused
with what they lack.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fgdm._core", reason="the C++ core is not built")

from fgdm import BackendError, Engine, RequestError, machine
from fgdm.cli import doctor
from fgdm.result import EngineInfo
from numpy.typing import NDArray

OPENVINO = "OpenVINOExecutionProvider"


def wheel(site: Path, name: str, file: str, content: str) -> None:
    """An installed wheel 0.5.0 that holds one file."""
    info = site / f"{name}-0.5.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.5.0\n")
    (info / "RECORD").write_text(f"{file},,\n")
    (site / file).parent.mkdir(parents=True, exist_ok=True)
    (site / file).write_text(content)


def picture(bundle: Path, backend: str) -> tuple[EngineInfo, NDArray[np.float64]]:
    with Engine(bundle, backend=backend, precision="fp32", threads=1) as engine:
        result = engine.generate(
            "two dogs on the grass", candidates=2, condition_steps=3, num_inference_steps=3, seed=1
        )
        return engine.info, np.asarray(result.image, dtype=np.float64)


def test_openvino_paints_the_cpus_picture_through_its_plugin(
    tiny_bundle: Path, openvino: machine.Plugin
) -> None:
    """In float32, also on a processor where OpenVINO would take bfloat16 by itself."""
    info, painted = picture(tiny_bundle, "openvino")
    _, expected = picture(tiny_bundle, "cpu")
    assert info.backend == "openvino" and info.precision == "fp32"
    assert f"with {OPENVINO} {openvino.version}" in info.runtime
    mean_square = np.mean((painted - expected) ** 2)
    assert mean_square <= 255**2 / 10**6, f"{10 * np.log10(255**2 / mean_square):.1f} dB, not 60"
    again, repainted = picture(tiny_bundle, "openvino")  # the environment was given back between
    assert again == info and np.array_equal(repainted, painted)


def test_devices_are_listed_by_the_plugin_that_offers_them(openvino: machine.Plugin) -> None:
    here = doctor.look()
    assert openvino in here.plugins and not here.plugin_problems
    offered = [device for device in here.devices if device.provider == OPENVINO]
    assert [device.kind for device in offered][:1] == ["CPU"]
    assert offered[0].version.startswith(openvino.version) and offered[0].name
    text = "\n".join(doctor.lines(here))
    assert f"{openvino.package} {openvino.version} (openvino)" in text
    assert f"CPU {offered[0].name} of {OPENVINO} {offered[0].version}" in text


def test_a_plugin_is_no_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = "onnxruntime_ep_nv_tensorrt_rtx/libonnxruntime_providers_nv_tensorrt_rtx.so"
    wheel(tmp_path, "onnxruntime_ep_nv_tensorrt_rtx_cu13", file, "")
    wheel(tmp_path, "onnxruntime_ep_nothing", "onnxruntime_ep_nothing/readme.txt", "")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert machine.find_runtimes() == ()
    assert machine.find_plugins() == (
        machine.Plugin(
            "onnxruntime-ep-nv-tensorrt-rtx-cu13", "0.5.0", str(tmp_path / file), "tensorrt-rtx"
        ),
    )


def test_a_runtime_with_the_provider_inside_goes_before_a_plugin() -> None:
    plugin = machine.Plugin("onnxruntime-ep-openvino", "1.8.1", "/plugin", "openvino")
    new = machine.Runtime("onnxruntime", "1.23.0", "/new", ("cpu",))
    old = machine.Runtime("onnxruntime", "1.22.1", "/old", ("cpu",))
    inside = machine.Runtime("onnxruntime-openvino", "1.24.1", "/inside", ("cpu", "openvino"))
    assert machine.choose_library([new, inside], "openvino", [plugin]) == "/inside"
    assert machine.choose_library([old, new], "openvino", [plugin]) == "/new"
    assert machine.choose_library([old, new], "auto", [plugin]) == "/new"
    assert machine.choose_library([old], "openvino", [plugin]) == "/old"  # the core says it is old
    assert machine.choose_plugins([plugin], "cpu") == []
    assert machine.choose_plugins([plugin], "auto") == [plugin]


def refusal(bundle: Path, backend: str) -> str:
    """What a new process, which has no plugin yet, says of it."""
    script = """
import sys, fgdm
try:
    with fgdm.Engine(sys.argv[1], backend=sys.argv[2]) as engine:
        print(engine.info.backend, *engine.notes)
except fgdm.BackendError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(bundle), backend]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("openvino", "install onnxruntime-ep-openvino"),
        ("tensorrt-rtx", "RTX card.*onnxruntime-ep-nv-tensorrt-rtx"),
        ("webgpu", "libvulkan.so.1.*onnxruntime-ep-webgpu"),
    ],
)
def test_without_a_device_the_error_says_what_it_needs(
    tiny_bundle: Path, backend: str, words: str
) -> None:
    assert re.search(words, refusal(tiny_bundle, backend))


def test_a_plugin_without_a_device_here_says_so(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenVINO's on a processor that isn't Intel's; this test's plugin offers none anywhere."""
    source = tmp_path / "plugin.c"
    source.write_text(
        "#include <stddef.h>\n"
        "void* CreateEpFactories(const char* name, const void* api, const void* logger,\n"
        "                        void** factories, size_t most, size_t* count) {\n"
        "  *count = 0;\n  return NULL;\n}\n"
        "void* ReleaseEpFactory(void* factory) { return NULL; }\n"
    )
    file = "onnxruntime_ep_openvino/libonnxruntime_providers_openvino_plugin.so"
    wheel(tmp_path, "onnxruntime_ep_openvino", file, "")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / file, source], check=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = refusal(tiny_bundle, "openvino")
    assert "onnxruntime-openvino in place of onnxruntime" in said
    assert f"can't be used:\n  {tmp_path / file} offers no device on this machine" in said
    said = refusal(tiny_bundle, "auto")
    assert said.startswith("cpu") and f"{tmp_path / file} offers no device" in said


def test_a_plugin_that_cannot_be_opened_says_why(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = "onnxruntime_ep_openvino/libonnxruntime_providers_openvino_plugin.so"
    wheel(tmp_path, "onnxruntime_ep_openvino", file, "no library")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = refusal(tiny_bundle, "openvino")
    assert re.search(f"can't be used.*{tmp_path / file}.*(ELF|short)", said, re.DOTALL)
    said = refusal(tiny_bundle, "auto")
    assert said.startswith("cpu") and "a plugin was passed over" in said
    monkeypatch.syspath_prepend(str(tmp_path))
    here = doctor.look()
    assert any(str(tmp_path / file) in problem for problem in here.plugin_problems)
    assert any("not usable" in line for line in doctor.lines(here))


def test_the_variable_names_plugins_for_programs_without_python(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FGDM_ONNXRUNTIME_PLUGINS", "/absent/one.so:/absent/two.so")
    with pytest.raises(BackendError, match=r"(?s)/absent/one\.so.*/absent/two\.so"):
        Engine(tiny_bundle, backend="webgpu")
    with Engine(tiny_bundle, backend="cpu") as engine:
        assert not any("plugin" in note for note in engine.notes)  # it opens none


def test_device_chooses_among_gpus_only(tiny_bundle: Path) -> None:
    with pytest.raises(RequestError, match='device is 1, which chooses a GPU, and backend "cpu"'):
        Engine(tiny_bundle, backend="cpu", device=1)
    with Engine(tiny_bundle, backend="auto", device=7, threads=1) as engine:
        assert any(note.startswith('device 7 is a GPU, and "auto" took') for note in engine.notes)
    with pytest.raises(RequestError, match="device is -1, expected 0 or more"):
        Engine(tiny_bundle, device=-1)
