# SPDX-License-Identifier: Apache-2.0
"""kvm:kvm_page_fault as a kernel has printed it; with kvm:kvm_rmp_fault as arch/x86/kvm/trace.h would.

Those of an SNP guest are written after the format (TP_printk): no machine with SEV-SNP was at hand.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from memtrace.analyzer.report import Request, make
from memtrace.commands.import_ import import_
from memtrace.tests.sql import fetched
from memtrace.traces.schema import Flag

from .conftest import Import

BASE = (256 << 20) >> 12
"""First gfn of gmemtest's private memory."""
HEAD = " CPU 0/KVM-{tid}  [003] .....   100.000{n}: "
LINES = (
    "kvm_page_fault: vcpu 0 rip 0xffffffff81000000 address 0x0000000001000000 error_code 0x200000006",
    "kvm_page_fault: vcpu 0 rip 0xffffffff81000000 address 0x0000000001200000 error_code 0x400000006",
    "kvm_rmp_fault: vcpu 1 gpa 0000000001234000 pfn 0x8a0234 error_code 0x580000006 rmp_level 2 psmash_ret 0",
    "kvm_rmp_fault: vcpu 1 gpa 0000000001235000 pfn 0x8a0235 error_code 0x580000006 rmp_level 1 psmash_ret 0",
    "kvm_rmp_fault: vcpu 1 gpa 0000000001400000 pfn 0x8a0400 error_code 0x580000006 rmp_level 2 psmash_ret 6",
)
OLD = (
    "kvm_page_fault: address 84d000 error_code 4",
    "kvm_page_fault:       address 12345000 error_code 2000100000006",
)
"""As kernels print it that name no vCPU: base 16 without a sign of it."""


def imported(folder: Path, printed: tuple[str, ...] = LINES, tids: tuple[int, ...] = ()) -> Path:
    text, run = folder / "host.txt", folder / "host.parquet"
    lines = [HEAD.format(n=100 + n, tid=tids[n] if tids else 2211) + line for n, line in enumerate(printed)]
    text.write_text("# tracer: nop\n" + "\n".join(lines) + "\n")
    result = CliRunner().invoke(import_, ["-q", "--clock", "boot", "-o", str(run), str(text)])
    assert result.exit_code == 0, result.output
    return run


def test_faults_and_splits_have_their_place_in_the_guest(tmp_path: Path) -> None:
    flags = ", ".join(f"(flags & {int(flag)}) <> 0" for flag in (Flag.PRIVATE, Flag.FAILED, Flag.NOOP))
    rows = fetched(
        f"SELECT event, vcpu, gfn, pfn, bytes, {flags}, vm FROM '{imported(tmp_path)}' ORDER BY ts_ns"
    )
    assert rows == [
        ("gmem.fault", 0, 0x1000, None, None, False, False, False, None),
        ("gmem.fault", 0, 0x1200, None, None, True, False, False, None),
        ("gmem.split", 1, 0x1234, 0x8A0200, 2 << 20, True, False, False, None),
        ("gmem.split", 1, 0x1235, 0x8A0200, 0, True, False, True, None),
        ("gmem.split", 1, 0x1400, 0x8A0400, 0, True, True, False, None),
    ]


def test_addresses_of_older_kernels_are_in_base_16_too(tmp_path: Path) -> None:
    flag = f"(flags & {int(Flag.PRIVATE)}) <> 0"
    run = imported(tmp_path, OLD)
    rows = fetched(f"SELECT vcpu, gfn, {flag} FROM '{run}' ORDER BY ts_ns")
    assert rows == [(None, 0x84D, False), (None, 0x12345, True)]


def test_what_such_a_trace_does_not_tell_is_unknown(tmp_path: Path) -> None:
    page = make(Request((str(imported(tmp_path)),), view="gmem", table="vms", format="csv"))
    head, row = (line.split(",") for line in page.splitlines())
    told = {name: value for name, value in zip(head, row, strict=True) if value}
    # One fault's error code says that it was of private memory, the other's nothing.
    faults = {"faults": "2", "private_faults": "1", "ordinary_faults": "0", "unknown_faults": "1"}
    assert told == {"task": "2211", "comm": "CPU 0/KVM", **faults, "unplaced_faults": "0"}


@pytest.mark.parametrize(
    ("printed", "places"),
    [
        # Two VMs without private memory: nested paging of Intel and AMD.
        (("address 0x1000000 error_code 0x181", "address 0x1001000 error_code 0x183"), [0x1000, 0x1001]),
        (("address 0x1000000 error_code 0x100000004",), [0x1000]),
        # SEV and SEV-ES: the C-bit, and no private memory.
        (("address 0x1000000 error_code 0x500000006",), [0x1000]),
        # Shadow paging: addresses of the guest's kernel, of a process, and its lower ones.
        (("address 0xffffffff81a00000 error_code 0x2",), [None]),
        (("address 0x00007f12345678f0 error_code 0x7",), [None]),
        (("address 0xffff888003a00000 error_code 0x3", "address 0x601040 error_code 0x6"), [None, None]),
        # Intel's without a linear address, as of a TD.
        (("address 0x1000000 error_code 0x2",), [0x1000]),
    ],
)
def test_a_fault_is_private_by_evidence_alone(
    tmp_path: Path, printed: tuple[str, ...], places: list[int | None]
) -> None:
    run = imported(tmp_path, tuple(f"kvm_page_fault: vcpu 0 rip 0xfff0 {line}" for line in printed))
    assert fetched(f"SELECT gfn, flags & {int(Flag.PRIVATE)} FROM '{run}' ORDER BY ts_ns") == [
        (gfn, 0) for gfn in places
    ]


def test_the_c_bit_means_private_in_a_vm_that_is_known_to_have_private_memory(tmp_path: Path) -> None:
    """Of two processes one has faults with KVM's own bit."""
    faults = ((2211, 0x100000006), (2211, 0x2000500000006), (2211, 0x500000006), (3311, 0x500000006))
    run = imported(
        tmp_path,
        tuple(f"kvm_page_fault: vcpu 0 rip 0x0 address 0x1000000 error_code {code:#x}" for _, code in faults),
        tuple(tid for tid, _ in faults),
    )
    found = fetched(f"SELECT flags & {int(Flag.PRIVATE)} <> 0 FROM '{run}' ORDER BY ts_ns")
    assert found == [(False,), (True,), (True,), (False,)]


@pytest.mark.parametrize(
    ("name", "clock"), [("gmem-fault-6.12.trace.gz", "boot"), ("gmem-fault-perf-6.12.txt.gz", "mono")]
)
def test_a_recorded_trace_has_every_fault_that_gmemtest_made(import_: Import, name: str, clock: str) -> None:
    """gmemtest -n 64 -m 1 counts 386; of them 200 and 40 in places of their own, and one of its code."""
    run = import_(name, clock=clock)
    faults = run.of("gmem.fault")
    assert len(faults) == len(run.rows) == 386
    assert {(row["vcpu"], row["vm"], row["comm"], row["dur_ns"]) for row in faults} == {
        (0, None, "gmemtest", None)
    }
    places = Counter(row["gfn"] for row in faults)
    for mib, pages in ((32, 200), (48, 40)):
        first = BASE + (mib << 8)
        assert {gfn: n for gfn, n in places.items() if first <= gfn < first + 2048} == dict.fromkeys(
            range(first, first + pages), 1
        )
    assert places[0] == 1
    # A software-protected VM's private faults do not say so when they begin.
    assert not any(row["flags"] & Flag.PRIVATE for row in faults)
    source = run.header.sources[0]
    assert (source.rows, source.unparsed) == (386, 0)
