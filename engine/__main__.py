"""The ``fgdm`` command, also as ``python -m fgdm``."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Runs the command; the exit code. Ctrl-C ends it without a traceback from the first import
    on, which takes the longest on a cold disk."""
    try:
        from fgdm.cli.command import main as run  # noqa: PLC0415

        return run()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            os.write(2, b"fgdm: cancelled\n")
        return 130  # exits.CANCELLED, whose module may be what wasn't imported


if __name__ == "__main__":
    sys.exit(main())
