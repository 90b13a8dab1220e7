"""``python -m histobench`` is the ``histobench`` command."""

import sys

from histobench.cli import main

sys.exit(main())
