# SPDX-License-Identifier: Apache-2.0
"""Refuses one call that attaches a probe, each in turn, and counts known work with what is left.

``python3 -m memtrace.tests.vm.workloads.refused_steps EVENT…`` prints a line of JSON for each call:
which was refused (null: none), the sites by event, and what they counted of the touched pages.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from memtrace.probes.programs import libbpf, perf
from memtrace.tests.probes.recorder.known import counting

Call = Callable[..., int]


class Refusing:
    """Lets all calls through but the one with this number."""

    def __init__(self, number: int | None) -> None:
        self.number, self.made = number, 0

    def around(self, call: Call) -> Call:
        def made(*arguments: Any) -> int:
            at, self.made = self.made, self.made + 1
            if at == self.number:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            return call(*arguments)

        return made


def main(events: list[str]) -> None:
    """Refuse none, then each call that was made when none was refused."""
    tracepoint, kprobe = libbpf.open_raw_tracepoint, perf.open_kprobe
    numbers: list[int | None] = [None]
    for number in numbers:
        refusing = Refusing(number)
        libbpf.open_raw_tracepoint, perf.open_kprobe = (
            refusing.around(tracepoint),
            refusing.around(kprobe),
        )
        with counting(*events) as known:
            counted = known.touched()
            sites = {site.event: site.site for site in known.attached.manifest if site.event in events}
        if number is None:
            numbers += range(refusing.made)
        print(json.dumps({"refused": number, "sites": sites, "counted": {e: counted[e] for e in events}}))


if __name__ == "__main__":
    main(sys.argv[1:])
