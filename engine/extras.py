"""Modules that need packages which fgdm's extras install."""

from __future__ import annotations

import importlib
from typing import Any

from fgdm.errors import BackendError


def load(module: str, extra: str) -> Any:
    """A module that needs packages of ``fgdm[extra]``. BackendError without them, with how to get
    them."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{module} needs {error.name}, which isn't installed; pip install 'fgdm[{extra}]'"
        ) from error
