# SPDX-License-Identifier: Apache-2.0
"""The guest runner on each kernel of the list: what a tour of it gives, by one boot.

Boots: 5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from memtrace.lab.guest import run_guest
from memtrace.lab.kernels import KERNELS
from memtrace.lab.programs import program
from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import (
    GuestResult,
    GuestSpec,
    PlugDimm,
    ResizeVirtioMem,
    Step,
    UnplugDimm,
    VirtioMem,
)

from .conftest import LIMIT_S

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("leaves_nothing")]

NODES = (GIB, GIB // 2)
COUNT = """
import ctypes
from bcc import BPF
text = "BPF_ARRAY(n, u64, 1); int hit(void *ctx) { n.atomic_increment(0); return 0; }"
b = BPF(text=text)
b.attach_kprobe(event="__x64_sys_getppid", fn_name="hit")
before = b["n"][0].value
libc = ctypes.CDLL(None)
for _ in range(23): libc.getppid()
print(b["n"][0].value - before)
"""
TOUR = """
total() { awk '/MemTotal/ {print $(NF - 1)}' $1; }
node1=/sys/devices/system/node/node1/meminfo
at() { echo "== $1"; }
at release; uname -r
at complaint; echo complaint >&2
at needs
python3 -c 'import bcc, click, numpy, pyarrow, memtrace; print(memtrace.__file__)'
python3 -c 'import pandas' 2>/dev/null || echo no pandas
test -r /sys/kernel/btf/vmlinux && test -r /sys/kernel/tracing/available_events &&
    test -e /sys/bus/event_source/devices/kprobe/type && command -v memtrace numactl
at kprobe; BCC_KERNEL_SOURCE=/lab/src/memtrace/probes/bpf/stub python3 $FILES/count.py
at cpus; cat /sys/devices/system/node/node*/cpulist
at memory; for node in 0 1; do total /sys/devices/system/node/node$node/meminfo; done
at cmdline; cat /proc/cmdline
at bound
$FILES/memhog 16 1 60 >/tmp/said & sleep 1
until grep -q touched /tmp/said; do sleep 0.1; done
grep -h 'bind:1' /proc/$!/numa_maps; kill $!
at dimm; before=$(total $node1)
lab-mark add; sleep 1; echo added $(($(total $node1) - before))
lab-mark remove; echo left $(($(total $node1) - before))
at virtio-mem; before=$(total /proc/meminfo)
lab-mark grow; sleep 1; echo added $(($(total /proc/meminfo) - before))
lab-mark shrink; sleep 1; echo left $(($(total /proc/meminfo) - before))
echo kept >$RESULTS/file
exit 3
"""


@dataclass(frozen=True)
class Tour:
    """What the tour of one kernel gave, and what it printed under each heading."""

    kernel: str
    result: GuestResult
    printed: dict[str, list[str]]


@pytest.fixture(scope="module", params=[entry.name for entry in KERNELS])
def tour(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tour:
    """One boot of each kernel of the list."""
    folder = tmp_path_factory.mktemp("tour")
    (folder / "count.py").write_text(COUNT)
    kernel = str(request.param)
    spec = GuestSpec(
        kernel,
        TOUR,
        memory=NODES,
        cpus=3,
        append="memhp_default_state=online_movable init_on_alloc=0",
        files=(folder / "count.py", program("memhog")),
        modules=("virtio_mem",) if kernel.startswith("debian") else (),
        virtio_mem=(VirtioMem("vm0", 0, GIB),),
        steps=(
            Step("add", PlugDimm("d0", 1, GIB // 2)),
            Step("remove", UnplugDimm("d0")),
            Step("grow", ResizeVirtioMem("vm0", GIB // 2)),
            Step("shrink", ResizeVirtioMem("vm0", 0)),
        ),
        time_limit_s=LIMIT_S,
    )
    result = run_guest(spec, folder / "results")
    parts = re.split(r"^== (.*)\n", result.output, flags=re.MULTILINE)[1:]
    printed = {name: text.splitlines() for name, text in zip(parts[::2], parts[1::2], strict=True)}
    return Tour(kernel, result, printed)


def test_output_status_results_and_logs_come_out(tour: Tour) -> None:
    (release,) = tour.printed["release"]
    assert release.startswith(tour.kernel.partition("-")[2])
    assert tour.printed["complaint"] == ["complaint"]
    assert tour.result.status == 3
    assert (tour.result.results / "file").read_text() == "kept\n"
    assert f"Linux version {release}" in tour.result.console
    assert f"Linux version {release}" in tour.result.dmesg
    assert 0 < tour.result.boot_s <= tour.result.wall_s


def test_what_recording_needs_is_there(tour: Tour) -> None:
    where, *rest = tour.printed["needs"]
    assert where == "/lab/src/memtrace/__init__.py"
    assert rest == ["no pandas", "/run/lab/bin/memtrace", "/usr/bin/numactl"]


def test_a_bcc_kprobe_counts_known_work(tour: Tour) -> None:
    assert tour.printed["kprobe"][-1] == "23"


def test_nodes_cpus_and_the_command_line_are_as_asked(tour: Tour) -> None:
    assert tour.printed["cpus"] == ["0-1", "2"]
    for total, size in zip(tour.printed["memory"], NODES, strict=True):
        # The kernel's own share (image, memmap, firmware) is not in MemTotal.
        assert size - 192 * MIB < int(total) * 1024 <= size
    assert tour.printed["cmdline"][0].endswith("init_on_alloc=0")


def test_a_counted_workload_runs_on_its_node(tour: Tour) -> None:
    assert re.findall(r"N\d+=\d+", " ".join(tour.printed["bound"])) == ["N1=4096"]


def test_a_dimm_comes_to_its_node_and_goes_again(tour: Tour) -> None:
    assert tour.printed["dimm"] == ["done d0 plugged", "added 524288", "done d0 unplugged", "left 0"]


def test_virtio_mem_grows_and_shrinks(tour: Tour) -> None:
    lines = [line for line in tour.printed["virtio-mem"] if not line.startswith("done")]
    assert lines == ["added 524288", "left 0"]
