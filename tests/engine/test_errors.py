"""Protects that there is one tree of errors, and that what needs no core works without it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import fgdm
import pytest
from fgdm import errors

NAMES = [
    "BackendError",
    "BundleError",
    "CancelledError",
    "DeadlineError",
    "OutOfMemoryError",
    "QueueFullError",
    "RequestError",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_error_is_an_error_of_ours_and_crosses_processes(name: str) -> None:
    kind = getattr(fgdm, name)
    assert kind is getattr(errors, name) and issubclass(kind, fgdm.Error)
    copy = pickle.loads(pickle.dumps(kind("message")))
    assert type(copy) is kind and str(copy) == "message"


def test_the_middle_of_a_message_that_is_too_long_is_left_out() -> None:
    message = str(fgdm.BundleError(f"it is {'a' * 5000}; export again"))
    assert len(message) == 2000
    assert message.startswith("it is aaa") and message.endswith("aaa; export again")
    assert "aaa...aaa" in message
    assert str(fgdm.BundleError("a" * 2000)) == "a" * 2000


@pytest.mark.parametrize("name", ["Error", *NAMES])
def test_the_core_raises_the_very_same_classes(name: str) -> None:
    core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
    assert getattr(core, name) is getattr(errors, name)


def test_the_core_and_the_package_have_one_version() -> None:
    core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
    assert core.version() == fgdm.__version__


def test_without_the_core_the_rest_works_and_engine_says_how_to_build_it() -> None:
    program = """
import sys
sys.modules["fgdm._core"] = None  # what import finds where the core isn't built
import fgdm, fgdm.cli.command, fgdm.pictures, fgdm.cli.doctor, fgdm.inspect
assert "Engine" in dir(fgdm) and fgdm.Result.__module__ == "fgdm.result"
assert not {"torch", "onnxruntime", "diffusers", "transformers"} & set(sys.modules)
try:
    fgdm.Engine
except ImportError as error:
    assert "pip install" in str(error), error
    print("told")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False
    )
    assert (done.stdout, done.stderr) == ("told\n", "")


def test_a_message_may_quote_what_is_no_text(tmp_path: Path) -> None:
    core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
    (tmp_path / "vocab.json").write_text('{"<|startoftext|>": 0, "<|endoftext|>": 1}')
    (tmp_path / "merges.txt").write_bytes(b"#version: 0.2\n\xe9 \xff\n")
    with pytest.raises(errors.BundleError, match=r"\\xe9"):
        core.Tokenizer(str(tmp_path), 77)


def test_the_list_of_errors_is_complete() -> None:
    defined = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert defined == {"Error", *NAMES}


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Engin'"):
        fgdm.Engin  # noqa: B018
