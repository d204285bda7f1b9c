# SPDX-License-Identifier: Apache-2.0
"""A spec that no guest can be made of is refused before anything is started."""

from pathlib import Path
from typing import Any

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import CutPower, GuestSpec, PlugDimm, Step, VirtioMem, check


def test_what_can_be_added_counts_dimms_and_virtio_mem_once() -> None:
    spec = GuestSpec(
        "debian-6.12",
        "true",
        virtio_mem=(VirtioMem("vm0", 0, 2 * GIB),),
        steps=(Step("a", PlugDimm("d0", 0, GIB)), Step("a", CutPower())),
    )
    assert spec.hotplug_bytes == 3 * GIB


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cpus": 0}, "1 to 64 CPUs"),
        ({"memory": (256 * MIB,)}, "512M of memory or more"),
        ({"memory": (0, 2 * GIB)}, "on node 0"),
        ({"memory": (2 * GIB + 1,)}, "whole MiB"),
        ({"time_limit_s": 0}, "above 0 seconds"),
        ({"clock": "instructions", "threads": "multi"}, "needs single-threaded emulation"),
        ({"files": (Path("/no/such/file"),)}, "no file /no/such/file"),
        ({"files": (Path("/etc/hosts"), Path("/no/hosts"))}, "the same name"),
        ({"steps": (Step("a", PlugDimm("d0", 1, GIB)),)}, "d0 is to be on node 1 of 1"),
        ({"steps": (Step("a", PlugDimm("d0", 0, GIB + MIB)),)}, "multiple of 128M"),
        ({"steps": (Step("a", PlugDimm("d,x=1", 0, GIB)),)}, "a name of its own"),
        (
            {"steps": (Step("a", PlugDimm("d0", 0, GIB)), Step("b", PlugDimm("d0", 0, GIB)))},
            "a name of its own",
        ),
        ({"virtio_mem": (VirtioMem("v", 3, GIB),)}, "v is to be on node 3 of 1"),
    ],
)
def test_refusals(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MemtraceError, match=sentence):
        check(GuestSpec("debian-6.12", "true", **changes))
