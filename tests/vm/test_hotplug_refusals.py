# SPDX-License-Identifier: Apache-2.0
"""Hotplug that the kernel refuses: removing what is in use, adding what there is no room for.

Boots: 2.
"""

import pytest

from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import PlugDimm, Step, UnplugDimm
from memtrace.tests.vm.conftest import Guest
from memtrace.tests.vm.hotplug import ADDED, BLOCK, RECORD, check_ledger, columns, report_of, rows

pytestmark = pytest.mark.vm

# Pipe buffers cannot be moved, and a task's memory policy says on which node they are.
PIN = r"""
cat > /tmp/pin.py <<'PY'
import ctypes, fcntl, os, time
libc = ctypes.CDLL(None, use_errno=True)
mask = ctypes.c_ulong(2)
assert libc.syscall(238, 2, ctypes.byref(mask), 8) == 0
pipes = [os.pipe() for _ in range(64)]
for _, end in pipes:
    os.write(end, b"x" * 65536)
open("/tmp/pinned", "w").write("yes")
time.sleep(600)
PY
"""


def test_adds_that_overlap_and_a_removal_refused(guest: Guest) -> None:
    work = (
        "lab-mark a; wait_blocks 2; lab-mark b; sleep 1.5;"
        " (online online_kernel 1) & (online online_movable 0) & wait; sleep 1;"
        " python3 /tmp/pin.py & pin=$!; until [ -e /tmp/pinned ]; do sleep .1; done;"
        " lab-mark remove-a; kill $pin; wait; lab-mark remove-b; sleep 1"
    )
    result = guest(
        "debian-6.12",
        ADDED + PIN + RECORD.format(events="hotplug", work=work),
        memory=(2 * GIB, 0),
        append="memhp_default_state=offline",
        steps=(
            Step("a", PlugDimm("a", 1, 2 * BLOCK)),
            Step("b", PlugDimm("b", 0, 2 * BLOCK)),
            Step("remove-a", UnplugDimm("a")),
            Step("remove-b", UnplugDimm("b")),
        ),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    check_ledger(report)
    adds = rows(report, "adds")
    assert columns(adds, "nid", "bytes", "blocks", "result") == [
        (1, 2 * BLOCK, 2, "online"),
        (0, 2 * BLOCK, 2, "removed"),
    ]
    # The second was added while the first was not yet online.
    assert adds[1]["at_ns"] < adds[0]["at_ns"] + adds[0]["total_ns"]
    assert {(row["add"], row["nid"]) for row in rows(report, "blocks")} == {(1, 1), (2, 0)}
    assert columns(rows(report, "memmap"), "add", "nid_requested", "nid", "bytes") == [
        (1, 1, 0, 4 * MIB),
        (2, 0, 0, 4 * MIB),
    ]
    refused = rows(report, "refusals")
    assert {row["what"] for row in refused} == {"refused offlining"}
    assert {row["errno"] for row in refused} == {"EBUSY"}
    low, high = adds[0]["pfn"], adds[0]["end_pfn"]
    assert all(low <= row["pfn"] < high for row in refused)


# Processes live in ZONE_MOVABLE, struct pages cannot.  Of the 512 MiB that the kernel may use 192 are
# held in pipe buffers, which are no movable memory either, and more than 64 are its image, its slabs
# and struct pages it has: 256 for 16 GiB are not left.  What an add that fails had allocated stays
# allocated, so the pipes are let go when the kernel has said so.  What has to be killed meanwhile is
# neither the recorder nor the test.
HOLD = r"""
cat > /tmp/victim.py <<'PY'
import time
open("/proc/self/oom_score_adj", "w").write("1000")
time.sleep(600)
PY
cat > /tmp/hold.py <<'PY'
import ctypes, fcntl, os, select, time
kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
os.lseek(kmsg, 0, os.SEEK_END)
pipes = [os.pipe() for _ in range(192)]
for _, end in pipes:
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(end, b"x" * (1 << 20))
assert not ctypes.CDLL(None).mlockall(3)
open("/tmp/held", "w").close()
until = time.monotonic() + 60
while time.monotonic() < until:
    select.select([kmsg], [], [], 1)
    try:
        if b"add_memory failed" in os.read(kmsg, 8192):
            break
    except OSError:
        pass
PY
for i in 1 2 3 4 5; do python3 /tmp/victim.py & done
echo -1000 > /proc/self/oom_score_adj
"""


def test_an_add_without_room_for_its_struct_pages(guest: Guest) -> None:
    size = 16 * GIB
    work = (
        "python3 /tmp/hold.py & held=$!; until [ -e /tmp/held ]; do sleep .1; done;"
        " lab-mark plug; wait $held; sleep 1"
    )
    result = guest(
        "debian-6.12",
        ADDED + HOLD + RECORD.replace("1M", "8M").format(events="hotplug", work=work),
        memory=(2 * GIB, 0),
        append="memhp_default_state=offline kernelcore=512M",
        steps=(Step("plug", PlugDimm("dimm", 1, size)),),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    assert not rows(report, "adds")
    (failed,) = rows(report, "refusals")
    assert columns([failed], "what", "cause", "errno", "bytes", "origin") == [
        ("failed add", "hot.memmap", "ENOMEM", size, "ACPI DIMM")
    ]
    # Those of the sections before the one that failed: some, not all.
    assert 0 < failed["memmap_bytes"] < size // 64
