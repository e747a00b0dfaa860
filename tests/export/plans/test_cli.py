"""The ``fgdm build`` command: its options, its output, its exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fgdm.cli.command import main

Behave = Callable[..., None]


def build(bundle: Path, *arguments: str) -> int:
    return main(["build", str(bundle), "--max-candidates=1", *arguments])


def test_builds_lists_and_reports(
    bundle: Path, tensorrt: Behave, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--target=tensorrt", "--graphs=controlnet_hint"]
    assert build(bundle, *arguments, "--dry-run") == 0
    assert "controlnet_hint 32×32, 1 row  (about 16.0 MB" in capsys.readouterr().out
    assert not list(bundle.glob("plans/*/*"))
    assert build(bundle, *arguments, "--report") == 0
    printed = capsys.readouterr()
    assert "controlnet_hint 32×32, 1 row: step 100 of 100" in printed.err
    assert "1 plans built" in printed.out and "--precision fp16" in printed.out
    assert "1 layers: 1 kgen" in printed.out
    assert build(bundle, *arguments) == 0
    assert "0 plans built" in capsys.readouterr().out


def test_quiet_prints_nothing(
    bundle: Path, tensorrt: Behave, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(bundle, "--target=tensorrt", "--graphs=controlnet_hint", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_sizes_and_shared_weights(
    bundle: Path, tensorrt: Behave, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--target=tensorrt", "--dry-run", "--share-weights", "--sizes=64x32,32x64"]
    assert build(bundle, *arguments) == 0
    printed = capsys.readouterr().out
    assert "adapter_segmentation, 2 profiles" in printed
    assert "7 plans, about" in printed


def test_prune_says_what_it_removes(
    bundle: Path, tensorrt: Behave, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(bundle, "--target=tensorrt", "--graphs=controlnet_hint") == 0
    (plan,) = bundle.glob("plans/*/*.plan")
    plan.write_bytes(b"")
    capsys.readouterr()
    assert build(bundle, "--target=tensorrt", "--graphs=vae_decoder") == 0
    assert f"{plan.stem[:12]} (its .plan file has 0 bytes" in capsys.readouterr().out
    assert main(["build", str(bundle), "--prune"]) == 0
    assert f"removed plans/tensorrt/{plan.stem[:12]}: its .plan" in capsys.readouterr().out
    assert not plan.exists() and len(list(bundle.glob("plans/*/*.plan"))) == 2


def test_errors_are_one_line(
    bundle: Path, tensorrt: Behave, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", str(bundle)]) == 2
    assert "--target is missing; expected one of tensorrt, tensorrt-rtx" in capsys.readouterr().err
    assert build(bundle, "--target=tensorrt", "--gpu=sm_90") == 2
    assert "own GPU, which is sm_89" in capsys.readouterr().err
    assert build(bundle / "none", "--target=tensorrt") == 3


@pytest.mark.parametrize(
    "bad", ["--sizes=512", "--sizes=512xwide", "--jobs=0", "--target=cuda", "--max-candidates=two"]
)
def test_bad_options(bundle: Path, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        build(bundle, bad)
    assert error.value.code == 2
    assert bad.split("=", maxsplit=1)[0] in capsys.readouterr().err


def test_help_needs_no_onnx() -> None:
    program = (
        "import sys\n"
        "sys.modules['onnx'] = None\n"
        "from fgdm.cli.command import main\n"
        "sys.exit(main(['build', *sys.argv[1:]]))\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    helped = run("--help")
    assert (helped.returncode, helped.stderr) == (0, "") and "--share-weights" in helped.stdout
    built = run("no", "--target=tensorrt")
    assert built.returncode == 2 and "pip install 'fgdm[build]'" in built.stderr
