"""How far two runtimes' values of one graph are apart, and the first value that is too far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.comparator import Comparator

from .inputs import Feed
from .values import Value, Values

#: Makes a runner of the graph whose outputs are the values named; all of them together.
MakeRunner = Callable[[Sequence[str]], BaseRunner]
#: Told how many of the graph's values have been compared, and how many there are.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Difference:
    """Of one value, over all calls. error: see `error_of`; call: the index of the worst one."""

    value: Value
    error: float
    call: int


def error_of(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest absolute difference over the largest finite magnitude of `other`.

    Infinite where the shapes differ, or where one has NaN or an infinity and the other hasn't the
    same in that place. NaN equals NaN here, and an infinity one of its sign. Of what isn't a
    floating-point number: 0.0 where all are equal, else infinite.
    """
    if one.shape != other.shape:
        return float("inf")
    if not np.issubdtype(other.dtype, np.floating):
        return 0.0 if np.array_equal(one, other) else float("inf")
    a, b = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(b)
    if (
        not np.array_equal(a[~finite], b[~finite], equal_nan=True)
        or not np.isfinite(a[finite]).all()
    ):
        return float("inf")
    if not finite.any():
        return 0.0
    scale = float(np.abs(b[finite]).max())
    difference = float(np.abs(a[finite] - b[finite]).max())
    return difference / scale if scale > 0.0 else difference


def compare(
    values: Sequence[Value], one: MakeRunner, other: MakeRunner, feeds: Sequence[Feed]
) -> list[Difference]:
    """Of each value the worst of all calls, in the order given. Polygraphy runs both runners, call
    by call. Raises what a runtime raises that doesn't take the graph."""
    worst = [Difference(value, 0.0, 0) for value in values]
    names = [value.name for value in values]
    for call, results in enumerate(
        Comparator.run([one(names), other(names)], data_loader=list(feeds), streaming=True)
    ):
        (_, (a,)), (_, (b,)) = results
        for place, value in enumerate(values):
            error = error_of(np.asarray(a[value.name]), np.asarray(b[value.name]))
            if error > worst[place].error:
                worst[place] = Difference(value, error, call)
    return worst


def first_difference(
    values: Values,
    one: MakeRunner,
    other: MakeRunner,
    feed: Feed,
    tolerance: float,
    at_once: int = 64,
    on_progress: OnProgress | None = None,
) -> tuple[list[Difference], Difference | None]:
    """The errors of the graph's values in its order, up to the first above `tolerance`, and that.

    at_once: values that are outputs in one pass; memory grows with it, and passes become fewer.
    None where every value is within the tolerance: then the difference comes of what a runtime
    fuses, which it doesn't where the values between are outputs.
    """
    passed: list[Difference] = []
    for chunk in _chunks(values.inner, at_once):
        for difference in compare(chunk, one, other, [feed]):
            passed.append(difference)
            if difference.error > tolerance:
                return passed, difference
        if on_progress is not None:
            on_progress(len(passed), len(values.inner))
    return passed, None


def _chunks(values: Sequence[Value], size: int) -> Iterator[Sequence[Value]]:
    for begin in range(0, len(values), size):
        yield values[begin : begin + size]
