"""`python -m tfmnist`."""

import sys

from tfmnist.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
