"""What holds for all tests."""

import os

# Whatever publishes asks a version in a process without Python too where there is a C compiler, which takes seconds.
# The tests of that bring the compiler back.
os.environ["CC"] = ""
