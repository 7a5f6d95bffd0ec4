"""For all tests: two run at a time, so none takes more than its share of two cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
