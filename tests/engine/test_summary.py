"""Protects the lines that `fgdm generate` prints about what became of the factors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from fgdm.factor_result import FactorResult
from fgdm.result import Result
from fgdm.summary import summary

MakeResult = Callable[..., Result]


def with_factor(result: Result, factor: FactorResult) -> Result:
    return replace(
        result,
        factors={"segmentation": factor},
        candidates=factor.candidates,
        chosen=factor.chosen,
        requested=factor.requested,
    )


def test_a_map_that_was_given(make_result: MakeResult) -> None:
    result = make_result(found=[("dog",)])
    factor = replace(result.factors["segmentation"], given=True, unknown_pixels=12)
    assert summary(with_factor(result, factor), "segmentation", []) == [
        "map given: recall 1/3, missing house, tree; seed 7, 1.5 s",
        "segmentation: 12 of 4096 pixels of the given map are unlabeled, or of a colour near none "
        "of the palette's",
    ]


def test_no_class_is_looked_for_in_pictures_and_given_maps(make_result: MakeResult) -> None:
    result = make_result(found=[()], requested=())
    factor = result.factors["segmentation"]
    assert "no class of the palette" in summary(result, "segmentation", [])[1]
    given = with_factor(result, replace(factor, given=True))
    assert summary(given, "segmentation", []) == ["map given: recall 0/0; seed 7, 1.5 s"]
    candidate = replace(factor.candidates[0], labels=np.zeros((0, 0), np.uint8))
    pictures = with_factor(result, replace(factor, candidates=(candidate,)))
    assert summary(pictures, "segmentation", []) == ["map 1 of 1 chosen; seed 7, 1.5 s"]


def test_the_end_of_a_factors_own_prompt(make_result: MakeResult) -> None:
    result = make_result()
    factor = replace(result.factors["segmentation"], truncated=" and a tree")
    lines = summary(with_factor(result, factor), "segmentation", ["depth"])
    assert lines[1:] == [
        "depth: left out",
        "the prompt of segmentation is too long for the text encoder, which doesn't read its end, "
        "11 characters: 'and a tree'",
    ]
