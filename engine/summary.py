"""What ``fgdm generate`` tells about a result, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgdm.factor_result import FactorResult
    from fgdm.result import Result


def summary(result: Result, measured: str | None, left_out: Iterable[str]) -> list[str]:
    """First the map that was painted, then what else is worth knowing.

    measured: the factor that the result's own candidates are of, None without one.
    """
    lines = [
        f"{_painted(result, measured)}; seed {result.seed}, {result.timings['total']:.1f} s",
        *_factors(result, measured, left_out),
        *_objects(result, measured),
        *_texts(result),
        *_repaint(result),
    ]
    if failed := sum(candidate.failed for candidate in result.candidates):
        lines.append(
            f"{failed} of {len(result.candidates)} maps failed: not all their values were finite; "
            "--precision fp32 usually helps"
        )
    return lines


def _painted(result: Result, measured: str | None) -> str:
    if measured is None:
        return "painted without a map"
    line = _chosen(result.factors[measured])
    if result.labels.size:
        line += f": recall {len(result.found)}/{len(result.requested)}"
    return line + (f", missing {', '.join(result.missing)}" if result.missing else "")


def _chosen(factor: FactorResult) -> str:
    if factor.given:
        return "map given"
    return f"map {factor.chosen + 1} of {len(factor.candidates)} chosen"


def _factors(result: Result, measured: str | None, left_out: Iterable[str]) -> list[str]:
    lines = []
    for name, factor in result.factors.items():
        if name != measured:
            lines.append(f"{name}: {_chosen(factor)}")
        if factor.unknown_pixels:
            lines.append(
                f"{name}: {factor.unknown_pixels} of {factor.labels.size} pixels of the given map "
                "are unlabeled, or of a colour near none of the palette's"
            )
    return lines + [f"{name}: left out" for name in left_out]


def _objects(result: Result, measured: str | None) -> list[str]:
    lines = []
    sampled = measured is not None and not result.factors[measured].given
    if sampled and result.labels.size and not result.requested:
        lines.append(
            "no class of the palette is requested, so no map is better than another: the first is "
            f"painted, of {len(result.candidates)} that were sampled; --objects names classes"
        )
    if result.excluded:
        lines.append(f"excluded by the prompt, not counted: {', '.join(result.excluded)}")
    lines += _requirements(result)
    if result.unrecognized:
        more = result.unrecognized_omitted
        lines.append(
            f"not in the palette: {', '.join(result.unrecognized)}"
            + (f" and {more} more" if more else "")
        )
    return lines


def _requirements(result: Result) -> list[str]:
    """What is required beside classes, and whether the chosen map meets it."""
    lines = []
    beside = [
        (one.text, met)
        for one, met in zip(result.requirements, result.met, strict=False)
        if one.kind != "present"
    ]
    if checked := [(text, met) for text, met in beside if met is not None]:
        lines.append(
            "counts and places of the map: "
            + ", ".join(f"{text} ({'met' if met else 'NOT met'})" for text, met in checked)
        )
    if result.reading:
        lines.append(
            f"read by {result.reading.model} in {result.reading.seconds:.1f} s"
            if result.reading.source == "llm"
            else f"NOT read by {result.reading.model}, so by fgdm's grammar: "
            f"{result.reading.problem}"
        )
    if colors := [text for text, met in beside if met is None]:
        lines.append(f"not checked on a map: {', '.join(colors)}")
    if result.not_understood:
        lines.append(f"not understood: {', '.join(result.not_understood)}")
    if refused := [c for c in result.candidates if c.refused]:
        what = sorted({candidate.refused for candidate in refused})
        lines.append(
            f"{len(refused)} of {len(result.candidates)} maps refused, they hold {', '.join(what)}"
        )
    return lines


def _repaint(result: Result) -> list[str]:
    if result.repaint is None:
        return []
    attempts = result.repaint.attempts
    kept = attempts[result.repaint.kept]
    lines = [
        f"picture {result.repaint.kept + 1} of {len(attempts)} kept, score {kept.value:.3f}"
        + ("" if kept.passed else ": NONE passed")
    ]
    if kept.unmet:
        lines.append(f"not met by the picture: {', '.join(kept.unmet)}")
    return lines


def _texts(result: Result) -> list[str]:
    own = {f"prompt of {name}": factor.truncated for name, factor in result.factors.items()}
    texts = {"prompt": result.truncated, "negative prompt": result.negative_truncated, **own}
    lines = [
        f"the {name} is too long for the text encoder, which doesn't read its end, "
        f"{len(cut)} characters: {cut.strip()!r:.80}"
        for name, cut in texts.items()
        if cut
    ]
    if result.unread:
        lines.append(f"named only there, not counted: {', '.join(result.unread)}")
    return lines
