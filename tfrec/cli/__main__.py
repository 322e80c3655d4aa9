"""`python -m tfrec.cli` is the command `tfrec`."""

import sys

from tfrec.cli import main

sys.exit(main())
