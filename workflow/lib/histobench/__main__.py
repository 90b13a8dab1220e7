"""``python -m histobench`` is the ``histobench`` command."""

import sys

from histobench.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
