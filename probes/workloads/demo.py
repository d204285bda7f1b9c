# SPDX-License-Identifier: Apache-2.0
"""A small real workload for a first recording: ``python -m memtrace.probes.workloads.demo [SECONDS]``.

Each round touches fresh anonymous memory in 4 KiB and in huge pages on every node
that has memory, then writes shared memory and a file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
import time

from memtrace.probes.machine.topology import nodes
from memtrace.probes.workloads.touch import fresh, touch

_BYTES = 32 << 20


def main(seconds: float) -> None:
    """Run for about ``seconds``."""
    nids: list[int | None] = [node.nid for node in nodes() if node.present_bytes]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for nid in nids or [None]:
            for huge in (False, True):
                with contextlib.suppress(OSError), fresh(_BYTES, huge, nid) as address:
                    touch(address, _BYTES)
        with mmap.mmap(-1, _BYTES, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS) as shared:
            shared.write(b"x" * _BYTES)
        with tempfile.TemporaryFile() as file:
            file.write(os.urandom(_BYTES // 8))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 4.0)
