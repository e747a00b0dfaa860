"""The language model that a service's operator lets requests have their prompts read by."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Protocol

from fgdm import extras
from fgdm.errors import RequestError

if TYPE_CHECKING:
    from fgdm.llm import LanguageModel


class _WithModel(Protocol):
    """The command's arguments, or a cluster's."""

    llm_base_url: str | None
    llm_model: str | None
    llm_timeout: float


def read_reader(args: argparse.Namespace | _WithModel) -> LanguageModel | None:
    """The language model that the arguments name, if they do. RequestError for half of it,
    BackendError without fgdm[llm]."""
    if args.llm_base_url is None and args.llm_model is None:
        return None
    if args.llm_base_url is None or args.llm_model is None:
        raise RequestError("a language model needs both its URL (llm-base-url) and llm-model")
    llm = extras.load("fgdm.llm", "llm")
    reader: LanguageModel = llm.LanguageModel(
        args.llm_base_url, args.llm_model, timeout=args.llm_timeout
    )
    return reader
