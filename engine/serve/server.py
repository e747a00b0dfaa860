"""What runs the application in a process of its own; cli.py imports it while engines open."""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Iterator
from types import FrameType

import uvicorn

from .app import create_app
from .models import Models
from .settings import Settings

#: Seconds for answers to requests that had to be cancelled when the service ends.
_LAST_WORDS = 10


class Server(uvicorn.Server):
    """Ends with its running requests at the first SIGTERM or Ctrl-C, at once at the second."""

    def __init__(self, models: Models, settings: Settings) -> None:
        app = create_app(models, settings)
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                # By then all are cancelled, and have a batch's time to say so.
                timeout_graceful_shutdown=math.ceil(settings.grace_seconds) + _LAST_WORDS,
                server_header=False,
            )
        )
        self._service = app.state.service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's own, it doesn't raise the signal again once all has ended well."""
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.drain()
        super().handle_exit(sig, frame)
