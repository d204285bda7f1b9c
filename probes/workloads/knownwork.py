# SPDX-License-Identifier: Apache-2.0
"""The selftest's child: touches counted pages and writes down what it did.

``python -m memtrace.probes.workloads.knownwork OUTPUT SMALL_PAGES HUGE_PAGES NID…``
"""

from __future__ import annotations

import dataclasses
import json
import mmap
import sys
import time
from pathlib import Path

from memtrace.probes.workloads.touch import HUGE_BYTES, touch_counted


def main(output: str, small_pages: int, huge_pages: int, nids: tuple[int, ...]) -> None:
    """Touch pages on each node; ``output`` gets a JSON list with one object per kind and node."""
    done = []
    for nid in nids:
        for kind, size in (("small", small_pages * mmap.PAGESIZE), ("huge", huge_pages * HUGE_BYTES)):
            touched = touch_counted(size, kind == "huge", nid)
            done.append({"kind": kind, "nid": nid, **dataclasses.asdict(touched)})
            # A gap, so that one window's aggregates can't be mistaken for the next one's.
            time.sleep(0.01)
    Path(output).write_text(json.dumps(done))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), tuple(int(n) for n in sys.argv[4:]))
