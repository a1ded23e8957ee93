"""Entry point of ``python -m skganomaly.benchmark``."""

import sys

from ._cli import main

# Worker processes import this module too, and must not start a benchmark of their own.
if __name__ == "__main__":
    sys.exit(main())
