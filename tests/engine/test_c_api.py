"""Protects the one JSON form of requests and results: what the C API says of a request is what
Python says of it.

FGDM_LIBRARY names libfgdm.so, which cmake builds with FGDM_INSTALL.
"""

from __future__ import annotations

import ctypes
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

pytest.importorskip("fgdm._core", reason="the C++ core is not built")

from fgdm import Engine, machine

LIBRARY = os.environ.get("FGDM_LIBRARY", "")
SCHEMA = json.loads((resources.files("fgdm") / "result.schema.json").read_text(encoding="utf-8"))
OPTIONS: dict[str, Any] = {
    "seed": 3,
    "candidates": 3,
    "condition_steps": 2,
    "num_inference_steps": 2,
    "guidance_interval": [0.0, 0.5],
    "sampler": "euler",
    "requirements": {"objects": [{"class": "dog", "count": 2}], "absent": ["bench"]},
    "select": "compliance",
    "forbid": [{"classes": ["person"], "min_area": 0.9}],
    "stop_at_compliance": 0.0,
}
PROMPT = 'two dogs, "one" ball\nand a törtchen without a house'

pytestmark = pytest.mark.skipif(not LIBRARY, reason="FGDM_LIBRARY doesn't name libfgdm.so")


def from_c(bundle: Path, options: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a finished request."""
    library = ctypes.CDLL(LIBRARY)
    library.fgdm_last_error.restype = ctypes.c_char_p
    engine, job, text = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_char_p()

    def check(status: int) -> None:
        assert status == 0, library.fgdm_last_error()

    check(
        library.fgdm_engine_open(
            os.fsencode(bundle), json.dumps(options).encode(), ctypes.byref(engine)
        )
    )
    words = json.dumps(request).encode()
    check(library.fgdm_submit(engine, words, None, ctypes.c_size_t(0), None, ctypes.byref(job)))
    library.fgdm_engine_close.restype = library.fgdm_job_free.restype = None
    check(library.fgdm_job_wait(job, ctypes.c_double(-1.0)))
    check(library.fgdm_job_json(job, ctypes.byref(text)))
    assert text.value is not None
    result: dict[str, Any] = json.loads(text.value)
    library.fgdm_job_free(job)
    library.fgdm_engine_close(engine)
    return result


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    """The result as far as it is the same each time."""
    factors = {
        name: {key: value for key, value in factor.items() if key != "timings"}
        for name, factor in result["factors"].items()
    }
    return {key: value for key, value in result.items() if key != "timings"} | {"factors": factors}


def test_c_and_python_have_one_form(tiny_bundle: Path) -> None:
    library = machine.choose_library(machine.find_runtimes(), "cpu")
    engine_options = {"backend": "cpu", "library": library, "max_batch_rows": 4}
    in_c = from_c(tiny_bundle, engine_options, {"prompt": PROMPT, **OPTIONS})
    jsonschema.validate(in_c, SCHEMA)
    with Engine(tiny_bundle, backend="cpu", library=library, max_batch_rows=4) as engine:
        in_python = json.loads(json.dumps(engine.generate(PROMPT, **OPTIONS).to_json()))
    assert list(in_c) == list(in_python)
    assert without_times(in_c) == without_times(in_python)
    assert {name: in_c["parameters"][name] for name in OPTIONS} == OPTIONS
