"""Each worker of pytest-xdist keeps to processors of its own, before anything starts a thread for every one it sees.

Otherwise each starts as many threads as there are processors, and while those of one wait for each other they take the
time of the others: on two processors, runs with training cost up to twice as much. Child processes inherit it.
"""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    usable = sorted(os.sched_getaffinity(0))
    own = usable[number :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]
    os.sched_setaffinity(0, own or [usable[number % len(usable)]])
