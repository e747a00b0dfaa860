"""The same work on both sides, in turns, on a tiny bundle; ratios by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.diffusers_baseline import compare, interleave


def test_systems_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[tuple[str, int]] = []

    def system(name: str) -> Callable[[int], None]:
        return lambda turn: calls.append((name, turn))

    systems = {name: system(name) for name in ("a", "b")}
    seconds = interleave(systems, rounds=2)
    assert calls == [(name, turn) for turn in range(3) for name in ("a", "b")]
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2}


def test_the_best_rival_is_the_one_with_the_best_median() -> None:
    found = compare(
        {
            "slow": {"fgdm": [1.0, 3.0], "slow": [10.0, 6.0]},
            "fast": {"fgdm": [3.0, 3.0], "fast": [6.0, 6.0]},
        }
    )
    assert found["best_rival"] == "fast"
    assert found["beside_best"]["estimate"] == 0.5
    assert found["beside_slow"] == {"estimate": 0.25, "least": 0.1, "largest": 0.5}


def test_a_tiny_bundle_goes_through_all_systems(tiny_bundle: Path) -> None:
    pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
    from benchmarks.diffusers_baseline import measure  # noqa: PLC0415

    options = {"candidates": 2, "condition_steps": 2, "num_inference_steps": 2}
    rivals = ["float32", "bfloat16"]
    results = measure(tiny_bundle, options, rivals, rounds=1, threads=1, backend="cpu")
    assert set(results["seconds"]) == {"fgdm", *(f"diffusers_{rival}" for rival in rivals)}
    assert 0 < results["core_share"] < 1
    assert results["beside_best"]["estimate"] > 0
