"""SIGTERM ends a command as Ctrl-C does, so that what it has begun to write goes with it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """SIGTERM was sent; on its way it cleans up what Ctrl-C would."""


@contextmanager
def raised() -> Iterator[None]:
    """In the block the first SIGTERM raises Terminated and further ones do nothing.

    Off the main thread, and where SIGTERM is ignored or has a handler already, all stays as it is.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    if not on_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    try:
        signal.signal(signal.SIGTERM, terminate)
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
