"""Fills the GPU kit: all that a machine with a card and without a network needs for gpu/run.sh.

python -m gpu.kit --output build/gpu-kit --python /path/to/python3.12 --piece-mib 60

Takes packages from PyPI and GoogleTest's source from the system, compiles kernels and tests for the
card's architecture, exports Stable Diffusion 1.5's shapes and leaves their weights out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from gpu.pieces import split
from gpu.random_weights import strip
from gpu.trim import trim

ROOT = Path(__file__).resolve().parents[1]
ONNXRUNTIME = "onnxruntime-gpu==1.31.1"
#: What a PyTorch machine may lack, without what these need in turn.
PACKAGES = (
    *("nlohmann-json==3.12.0", "diffusers==0.42.1", "importlib_metadata==10.2.0"),
    *("inflect==7.6.0", "more-itertools==11.2.1", "typeguard==4.6.1", "pillow==13.0.0"),
    *("requests==2.34.2", "urllib3==2.8.0", "idna==3.20"),
    *("certifi==2026.10.19.post1", "charset-normalizer==3.5.3", "matplotlib==3.11.2"),
    *("contourpy==1.4.0", "cycler==0.12.1", "fonttools==4.68.0", "kiwisolver==1.5.1"),
    *("packaging==26.4", "pyparsing==3.3.3", "python-dateutil==4.0.0"),
    *("jsonschema==4.26.0", "jsonschema-specifications==2025.9.1", "referencing==0.37.0"),
    *("rpds-py==2026.9.1", "attrs==26.1.0"),
)
#: TensorRT-RTX's plugin, and the architectures that it has code for.
RTX_PLUGIN = "onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0"
RTX_ARCHITECTURES = (86, 89, 120, 121)
#: Kernels of ONNX Runtime for language models, which none of our graphs launches.
UNUSED_KERNELS = re.compile(r"onnxruntime3llm|[mM]o[eE]|paged|[sS]parse|fpA_intB|DqMma|AttentionK")
_LIBRARIES = ("libonnxruntime.so.", "libonnxruntime_providers_shared.so")
_CUDA_LIBRARY = "libonnxruntime_providers_cuda.so"
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")


def download(packages: tuple[str, ...], folder: Path, version: str) -> None:
    """Wheels of exactly these packages, for CPython `version` such as "3.12"."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={version}", f"--dest={folder}"]
    command += [f"--platform={platform}" for platform in _PLATFORMS]
    subprocess.run([*command, *packages], check=True)


def add_onnxruntime(kit: Path, version: str, architecture: int) -> None:
    """The runtime's libraries, the CUDA provider's with kernels for one architecture."""
    target = kit / "onnxruntime"
    target.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        download((ONNXRUNTIME,), Path(scratch), version)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = Path(member).name
                if name.startswith(_LIBRARIES):
                    (target / name).write_bytes(archive.read(member))
                elif name == _CUDA_LIBRARY:
                    whole = Path(archive.extract(member, scratch))
        trimmed, left = trim(whole, architecture, UNUSED_KERNELS)
    (target / _CUDA_LIBRARY).write_bytes(trimmed)
    print(f"{_CUDA_LIBRARY}: {left / 2**20:.0f} MiB of code for sm_{architecture} are left")


def add_wheels(kit: Path, python: str, architecture: int) -> None:
    """Packages, and fgdm itself for the interpreter that is like the one beside the card; the
    plugin of TensorRT-RTX for cards that it runs on."""
    show = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.run(
        [python, "-c", show], check=True, capture_output=True, text=True
    ).stdout.strip()
    wheels = kit / "wheels"
    wheels.mkdir()
    rtx = (RTX_PLUGIN,) if architecture in RTX_ARCHITECTURES else ()
    download((*PACKAGES, *rtx), wheels, version)
    build = [python, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*build, f"--wheel-dir={wheels}", str(ROOT)], check=True)


def add_programs(kit: Path, build: Path, architecture: int) -> None:
    """The kernels' library and tests for the card, and their emulation for a rehearsal."""
    configure = ["cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(build), "-DFGDM_CUDA=ON"]
    configure += ["-DFGDM_TESTS=ON", "-DFGDM_WERROR=ON"]
    configure += [f"-DCMAKE_CUDA_ARCHITECTURES={architecture}"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}"]
    targets = ["fgdm_kernels", "fgdm_kernel_gpu_tests", "fgdm-kernel-tests"]
    subprocess.run(configure, check=True)
    subprocess.run(["cmake", "--build", str(build), "--target", *targets], check=True)
    programs = kit / "programs"
    programs.mkdir()
    shutil.copy(build / "kernels" / "libfgdm_kernels.so", programs)
    for name in targets[1:]:
        program = programs / name
        shutil.copy(build / "tests" / "kernels" / name, program)
        subprocess.run(["strip", str(program)], check=True)


def add_googletest(kit: Path, source: Path) -> None:
    """GoogleTest's source, for whoever builds tests beside the card: make gpu-check GTEST_SOURCE=…

    Raises SystemExit that says what to install where there is none.
    """
    if not (source / "CMakeLists.txt").is_file():
        raise SystemExit(f"gpu.kit: no GoogleTest in {source} (Debian: apt install libgtest-dev)")
    shutil.copytree(source, kit / "googletest", ignore=shutil.ignore_patterns("test", "docs"))


def add_bundle(kit: Path, exported: Path) -> None:
    """Stable Diffusion 1.5's shapes in float16 at 512×512, exported unless `exported` exists."""
    if not exported.exists():
        from tests.full_size.sd15 import build_checkpoint  # noqa: PLC0415 (loads transformers)

        with tempfile.TemporaryDirectory() as scratch:
            checkpoint = Path(scratch)
            build_checkpoint(checkpoint)
            command = [sys.executable, "-m", "fgdm", "export", "--base", str(checkpoint / "base")]
            command += ["--adapter", f"segmentation={checkpoint / 'adapter'}"]
            command += ["--controlnet", str(checkpoint / "controlnet")]
            command += ["--palette", str(checkpoint / "palette.json"), "--precision", "fp16"]
            command += ["--image-size", "512x512", "--output", str(exported)]
            subprocess.run(command, check=True)
    strip(exported, kit / "bundle")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/gpu-kit"))
    parser.add_argument("--python", default=sys.executable, help="as on the machine with the card")
    parser.add_argument("--architecture", type=int, default=90, help="of the card, such as 90")
    parser.add_argument("--googletest", type=Path, default=Path("/usr/src/googletest"))
    parser.add_argument("--piece-mib", type=int, default=60, help="the largest upload, in MiB")
    given = parser.parse_args(arguments)
    output = given.output.resolve()
    kit = output / "kit"
    shutil.rmtree(kit, ignore_errors=True)
    kit.mkdir(parents=True)
    add_googletest(kit, given.googletest)
    add_wheels(kit, given.python, given.architecture)
    version = next((kit / "wheels").glob("fgdm-*.whl")).name.split("-")[2]  # such as cp312
    add_onnxruntime(kit, f"{version[2]}.{version[3:]}", given.architecture)
    add_programs(kit, output / "build", given.architecture)
    add_bundle(kit, output / "exported")
    pieces = split(kit, output / "pieces", given.piece_mib << 20)
    for piece in pieces:
        print(f"{piece}: {piece.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
