"""One thread for all tests and the processes they start: small matrices gain nothing from more."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
