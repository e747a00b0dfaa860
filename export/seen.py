"""Whose latents an adapter, or a backbone of a factor's own, sees."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import ExportError
from .sources import Source


def seen_latents(
    network: str,
    source: Source,
    given: tuple[str, ...] | None,
    count: int,
    factor: str,
    earlier: Sequence[str],
) -> tuple[str, ...]:
    """The factors whose latents the network `source` of `factor` sees, in its own order.

    Args:
        network: what it is, "adapter" or "backbone". count: how many latents it takes.
        given: what was said of it; None stands for the factor's own noisy latent.
        earlier: the condition factors before `factor`.

    Raises:
        ExportError: it takes another number of latents, or those of a factor that doesn't come
            earlier.
    """
    if given is None and count == 1:
        return (factor,)
    who = f"the {network} {source} of factor {factor}"
    needs = f"the latents of {count} factor{'s' if count > 1 else ''}"
    if given is None:
        names = [*earlier, factor][-count:]
        raise ExportError(
            f"{who} sees {needs}; say which, in its order, such as "
            f"{factor}:{','.join(names)}={source}"
        )
    if len(given) != count:
        raise ExportError(
            f"{who} sees {needs}, but {len(given)} are named: {', '.join(given) or 'none'}"
        )
    for name in given:
        if name != factor and name not in earlier:
            raise ExportError(
                f"{who} can't see the latents of {name!r}; expected {factor} itself or a factor "
                f"before it: {', '.join(earlier) or 'none'}"
            )
    return given


def check_distinct(network: str, source: Source, seen: Sequence[str], factor: str) -> None:
    """Raises ExportError for a network that sees a factor's latents twice."""
    if len(set(seen)) < len(seen):
        raise ExportError(
            f"the {network} {source} of factor {factor} sees {', '.join(seen)}; expected each "
            "factor's latents once"
        )
