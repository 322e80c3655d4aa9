"""`python -m tfrec.config` prints the reference of the settings."""

import sys

from tfrec.config.reference import page

sys.stdout.write(page())
