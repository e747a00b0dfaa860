"""``attention``: the core's own kernel makes the pictures that standard ops make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fgdm import Engine, RequestError, machine
from fgdm.cli.command import main
from fgdm.inspect import describe
from fgdm.statistics import psnr

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"
PROMPT = "a dog beside a house"
OPTIONS: dict[str, Any] = {
    "seed": 3,
    "candidates": 2,
    "condition_steps": 2,
    "num_inference_steps": 2,
    "guidance": "segfree",
    "segfree_start": 0.0,
}
#: Of the processors that tests run on.
KERNELS = {"avx512", "avx2", "sse2", "neon", "plain"}


@pytest.mark.parametrize("memory", ["full", "low"])
def test_pictures_are_those_of_standard_ops(memory: str) -> None:
    with (
        Engine(SCENES, backend="cpu", threads=2, memory=memory, attention="kernel") as own,
        Engine(SCENES, backend="cpu", threads=1, memory=memory) as standard,
    ):
        assert own.attention == machine.attention_kernel() in KERNELS
        assert standard.attention == "standard"
        ours, theirs = (engine.generate(PROMPT, **OPTIONS) for engine in (own, standard))
    assert psnr(ours.image, theirs.image) > 50
    assert ours.recall == theirs.recall


def test_a_word_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError, match='"fused", expected "auto", "kernel" or "standard"'):
        Engine(SCENES, backend="cpu", attention="fused")
    with pytest.raises(RequestError, match="--plugin"):
        Engine(SCENES, backend="tensorrt", attention="standard")
    assert main(["generate", PROMPT, "--bundle", str(SCENES), "--attention-op", "fused"]) == 2


def test_inspect_and_doctor_say_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = machine.attention_kernel()
    description = describe(SCENES)
    assert description.attention == kernel
    assert description.attentions["backbone"] > 0 and "vae_decoder" not in description.attentions
    assert f"({kernel} kernel on backend cpu)" in "\n".join(description.lines())
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["attention"] == kernel
