"""For all tests: two run at a time, so none takes more than its share of two cores.

Hypothesis tries the same examples each time; `HYPOTHESIS_PROFILE=explore` lets it look for new ones.
"""

import os

import hypothesis

os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("steady", derandomize=True)
hypothesis.settings.register_profile("explore", derandomize=False)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
