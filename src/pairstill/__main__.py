"""`python -m pairstill`."""

import sys

from pairstill.cli import main

if __name__ == "__main__":
    sys.exit(main())
