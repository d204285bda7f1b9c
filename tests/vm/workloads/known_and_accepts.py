# SPDX-License-Identifier: Apache-2.0
"""In a guest of the emulation: known work on both nodes, with at least so many accepts on node 1.

``python3 -m memtrace.tests.vm.workloads.known_and_accepts ACCEPTS SMALL_PAGES HUGE_PAGES``;
writes $RESULTS/known.json.  The known work alone may need no accept at all.
"""

from __future__ import annotations

import os
import sys

from memtrace.probes.workloads import knownwork
from memtrace.tests.vm.workloads.until_accepted import Growth, logged


def main(accepts: int, small_pages: int, huge_pages: int) -> None:
    """The known work, then small pages as long as accepts are lacking."""
    until = logged() + accepts
    knownwork.main(os.environ["RESULTS"] + "/known.json", small_pages, huge_pages, (0, 1))
    with Growth(1) as memory:
        memory.until(until)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
