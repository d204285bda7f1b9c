# SPDX-License-Identifier: Apache-2.0
"""Each page that the allocator gives is in the file once, whichever way it took.

Pages captured by direct compaction and those of the bulk allocator pass
get_page_from_freelist() by.  The kernel's own histograms of the same tasks are the answer.

Boots: 2.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from memtrace.lab.programs import program
from memtrace.lab.sizes import GIB
from memtrace.tests.sql import fetched
from memtrace.tests.vm.conftest import Guest
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
HUGE_PAGES = 200
VMALLOC_MIB = 16
FEW = 8
SCRIPT = f"""
T=/sys/kernel/tracing
[ -e $T/kprobe_events ] || mount -t tracefs tracefs $T
has() {{ for f in "$@"; do grep -qw "$f" /proc/kallsyms && echo $f && return; done; }}
bulk=$(has alloc_pages_bulk_noprof __alloc_pages_bulk)
echo "r:answers/bulk $bulk got=\\$retval:u64" > $T/kprobe_events
cat > /tmp/work <<'END'
captured() {{ awk '/^compact_success/ {{ print $2 }}' /proc/vmstat; }}
before=$(captured)
for try in 1 2 3 4 5; do
    $FILES/fragmented {HUGE_PAGES} 'memtrace workload vmalloc --mib {VMALLOC_MIB}'
    [ $(captured) -gt $((before + 3)) ] && break
done
END
traced() {{
    name=$1; shift
    mkdir $T/instances/$name
    cd $T/instances/$name/events
    echo 'hist:keys=common_pid,order if pfn != 0xffffffffffffffff' > kmem/mm_page_alloc/trigger
    echo 'hist:keys=common_pid:vals=got' > answers/bulk/trigger
    memtrace record -q -f -a -e alloc,root.compaction --stream all --ring-size 64M \\
        -o $RESULTS/$name.parquet "$@" -- sh /tmp/work > $RESULTS/$name.work
    cat kmem/mm_page_alloc/hist > $RESULTS/$name.alloc
    cat answers/bulk/hist > $RESULTS/$name.bulk
    for e in kmem/mm_page_alloc answers/bulk; do
        echo "!$(grep -v '^#' $e/trigger | sed 's/ \\[.*//')" > $e/trigger
    done
    cd /
    rmdir $T/instances/$name
}}
traced entries
traced returns --avoid fentry
echo > $T/kprobe_events
"""


def histogram(path: Path) -> list[dict[str, int]]:
    """The lines of a histogram of ftrace, each as the numbers of its keys and values."""
    lines = (line for line in path.read_text().splitlines() if line.startswith("{"))
    return [{name: int(value) for name, value in re.findall(r"(\w+):\s*(-?\d+)", line)} for line in lines]


def by_order(folder: Path, name: str, tid: int) -> tuple[dict[int, int], dict[int, int]]:
    """Allocations of one task by order: in the file, and by the kernel."""
    where = f"FROM '{folder / name}.parquet' WHERE event = 'alloc' AND tid = {tid}"
    file = fetched(f'SELECT "order", count(*) {where} GROUP BY 1')
    kernel = {
        line["order"]: line["hitcount"]
        for line in histogram(folder / f"{name}.alloc")
        if line["common_pid"] == tid
    }
    return dict(file), kernel


def lost(folder: Path, name: str, event: str) -> int:
    """How many occurrences the run says that it lost; a few where the kernel does not tell (6.1).

    That is chance: interrupts that come while a program of ours runs.
    """
    with open_run(folder / f"{name}.parquet") as run:
        (counter,) = (c for c in run.status.counters if c.event == event)
    return (counter.no_exit or 0) + (FEW if counter.missed is None else counter.missed)


def check_orders(folder: Path, name: str, tid: int) -> None:
    """Each allocation of the task is in the file, or counted as lost."""
    file, kernel = by_order(folder, name, tid)
    differ = [hits - file.pop(order, 0) for order, hits in kernel.items()]
    assert not file and min(differ) >= 0
    assert sum(differ) <= lost(folder, name, "alloc")


@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-7.3"])
def test_each_page_is_in_the_file_once_whichever_way_it_took(kernel: str, guest: Guest) -> None:
    files = (program("fragmented", HERE / "workloads"),)
    result = guest(kernel, SCRIPT, memory=(GIB,), append="init_on_alloc=0", files=files)
    assert result.status == 0, result.output
    for name in ("entries", "returns"):
        check(result.results, name)
        # 7.3 tries larger orders first for vmalloc, and may need none of the bulk allocator's pages.
        assert taken_in_bulk(result.results / f"{name}.parquet") > 0 or kernel == "debian-7.3"


def taken_in_bulk(path: Path) -> int:
    ((size,),) = fetched(f"SELECT coalesce(sum(bytes), 0) FROM '{path}' WHERE event = 'alloc.bulk'")
    return int(size)


def check(folder: Path, name: str) -> None:
    path = folder / f"{name}.parquet"
    fragmented = (folder / f"{name}.work").read_text().splitlines()
    with open_run(path) as run:
        assert run.status.losses.ring_full == 0
        site = next(site for site in run.header.manifest if site.event == "alloc")
        assert site.beside == f"{'fentry' if name == 'entries' else 'kprobe'}:try_to_compact_pages"

    # Captured pages are allocations without a time, and as many as the kernel says.
    for line in fragmented[::2]:
        tid, got = map(int, line.split())
        check_orders(folder, name, tid)
        assert by_order(folder, name, tid)[1][9] >= got > 0
    ((captured, timed),) = fetched(
        f"SELECT count(*), count(dur_ns) FROM '{path}' WHERE event = 'alloc' AND site = '{site.beside}'"
        " AND comm = 'fragmented' AND \"order\" = 9 AND parent IS NULL"
    )
    assert captured > 0 == timed

    # The bulk allocator returns what it took itself, and what is an alloc inside.
    row = json.loads(fragmented[-1])["tables"]["workload"][0]
    check_orders(folder, name, row["tid"])
    ((took, calls, inside),) = fetched(
        "SELECT coalesce(sum(bytes) FILTER (event = 'alloc.bulk'), 0) // 4096,"
        " count(*) FILTER (event = 'alloc.bulk'),"
        " count(*) FILTER (event = 'alloc' AND parent = 'alloc.bulk')"
        f" FROM '{path}' WHERE tid = {row['tid']}"
    )
    told = [line for line in histogram(folder / f"{name}.bulk") if line["common_pid"] == row["tid"]]
    unseen = sum(t["hitcount"] for t in told) - calls
    assert 0 <= unseen <= lost(folder, name, "alloc.bulk")
    assert unseen or took + inside == sum(t["got"] for t in told)
    assert calls > 0
