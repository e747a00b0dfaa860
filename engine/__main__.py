"""``python -m fgdm`` is the ``fgdm`` command."""

from __future__ import annotations

import sys

from fgdm.cli import main

sys.exit(main())
