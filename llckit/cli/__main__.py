"""`python -m llckit.cli`, where the `llckit` script is not on the path."""

import sys

from llckit.cli import main

if __name__ == "__main__":
    sys.exit(main())
