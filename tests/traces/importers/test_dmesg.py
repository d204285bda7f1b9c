# SPDX-License-Identifier: Apache-2.0
"""Kernel logs: phases, facts, which boot, and stamps in each form that dmesg prints."""

from __future__ import annotations

import gzip

import pytest

from memtrace.errors import MemtraceError
from memtrace.tests.traces.importers.conftest import DATA, Import, Text
from memtrace.traces.phases import PHASES
from memtrace.traces.run import Phase, RunHeader

LOG = "boot-6.12.dmesg.gz"
OFFSET = -25_928_796
"""From its line on the stable clock: printk less CLOCK_MONOTONIC."""
FORMS = [
    LOG,
    "boot-6.12.dmesg-x.gz",
    "boot-6.12.dmesg-iso.gz",
    "boot-6.12.dmesg-T.gz",
    "boot-6.12.dmesg-t.gz",
]


def phase(header: RunHeader, name: str, nid: int | None = None) -> Phase:
    (found,) = [p for p in header.phases if (p.name, p.nid) == (name, nid)]
    return found


def test_the_log_tells_kernel_machine_and_settings(import_: Import) -> None:
    header = import_(LOG).header
    assert header.kernel_release == "6.12.117+deb12-amd64"
    assert header.kernel_version.startswith("#1 SMP PREEMPT_DYNAMIC Debian")
    assert "trace_event=initcall:*" in header.kernel_cmdline
    assert (header.machine, header.cpus, header.origin) == ("x86_64", 2, "imported")
    facts = {f.name: f.value for f in header.facts}
    zeroing = {"init_on_alloc": "yes", "init_on_free": "no"}
    assert facts == zeroing | {"preempt_rt": "no", "struct_page_init": "deferred"}
    assert [n.nid for n in header.nodes] == [0, 1]
    assert header.nodes[1].pfn_ranges == ((0x40000, 0x7FFDD),)


def test_phases_have_their_edges_their_evidence_and_known_names(import_: Import) -> None:
    header = import_(LOG).header
    assert {p.name for p in header.phases} <= set(PHASES)
    memory = phase(header, "memory")
    assert (memory.start_ns, memory.end_ns) == (97_255_000 + OFFSET, 119_543_000 + OFFSET)
    assert memory.detail.startswith("mem auto-init: stack:all(zero), heap alloc:on")
    assert phase(header, "early").start_ns is None
    assert phase(header, "initcalls").end_ns == 2_915_485_000 + OFFSET


def test_deferred_init_per_node_is_as_fine_as_a_jiffy(import_: Import) -> None:
    first, second = (phase(import_(LOG).header, "deferred", nid) for nid in (0, 1))
    assert first.end_ns == 1_375_026_000 + OFFSET
    assert first.start_ns == first.end_ns - 40_000_000
    assert second.end_ns is not None and second.start_ns == second.end_ns - 52_000_000
    # HZ=250
    assert {first.resolution_ns, second.resolution_ns} == {4_000_000}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_the_log_is_read_without_a_line_left(import_: Import, name: str) -> None:
    run = import_(name)
    assert run.header.kernel_release == "6.12.117+deb12-amd64"
    (source,) = run.header.sources
    assert (source.lines, source.unparsed) == (402, 0)


@pytest.mark.parametrize("name", FORMS[1:3])
def test_other_stamps_give_the_same_phases(import_: Import, name: str) -> None:
    assert import_(name).header.phases == import_(LOG).header.phases


def test_times_of_day_to_the_second_say_how_coarse_they_are(import_: Import) -> None:
    coarse = import_("boot-6.12.dmesg-T.gz").header
    assert phase(coarse, "initcalls").resolution_ns == 10**9
    assert phase(coarse, "deferred", 0).resolution_ns == 10**9


def test_a_log_without_stamps_has_phases_without_times(import_: Import) -> None:
    run = import_("boot-6.12.dmesg-t.gz")
    assert {(p.start_ns, p.end_ns) for p in run.header.phases} == {(None, None)}
    assert phase(run.header, "deferred", 0).detail == "node 0 deferred pages initialised in 40ms"
    (source,) = run.header.sources
    assert source.offset_ns is None
    assert "no stamps" in source.clock


def test_the_stamp_zero_is_unknown_and_not_the_start(import_: Import, text: Text) -> None:
    log = "[    0.000000] Linux version 6.5.0 (a@b) #1 SMP\n[    0.000000] SLUB: HWalign=64, Order=0-3\n"
    log += "[    0.500000] devtmpfs: initialized\n"
    core = phase(import_(text(log)).header, "core")
    assert (core.start_ns, core.end_ns) == (None, 500_000_000)


def two_boots() -> str:
    second = gzip.decompress((DATA / "eager-boot-6.12.dmesg.gz").read_bytes()).decode()
    return gzip.decompress((DATA / LOG).read_bytes()).decode() + second


def test_of_two_boots_the_last_is_read_and_that_is_said(import_: Import, text: Text) -> None:
    run = import_(text(two_boots()))
    assert run.header.kernel_release == "6.12.117-memtrace"
    ((_, note),) = run.outcome.notes
    assert note == (
        'the log has 2 boots (as many times "Linux version"): boot 2 was read, the last; --boot picks another'
    )


def test_boot_picks_another(import_: Import, text: Text) -> None:
    assert import_(text(two_boots()), boot=1).header.kernel_release == "6.12.117+deb12-amd64"
    with pytest.raises(MemtraceError, match=r"--boot 3: the log has 2 boots; give 1 to 2") as refusal:
        import_(text(two_boots()), boot=3)
    assert refusal.value.exit_code == 2


def test_interleaved_lines_of_a_console_are_unparsed(import_: Import, text: Text) -> None:
    log = (
        "[    0.100000] Linux version 6.5.0 (a@b) #1\n[    0.2[    0.200001] x\n[    0.3] [    0.300000] y\n"
    )
    (source,) = import_(text(log)).header.sources
    assert (source.unparsed, source.examples[0]) == (2, "[    0.2[    0.200001] x")


def test_a_log_of_a_realm_says_that_it_is_confidential(import_: Import, text: Text) -> None:
    """Arm CCA: arch/arm64/kernel/rsi.c."""
    log = (
        "[    0.000000] Linux version 6.14.0 (a@b) #1\n[    0.000000] RME: Using RSI version 1.0\n"
        "[    0.097255] mem auto-init: stack:all(zero), heap alloc:off, heap free:off\n"
    )
    (fact,) = [f for f in import_(text(log)).header.facts if f.name == "confidential"]
    assert (fact.value, fact.evidence) == ("CCA", "dmesg: RME: Using RSI version 1.0")


def test_unaccepted_memory_and_how_it_is_accepted_are_facts(import_: Import, text: Text) -> None:
    log = (
        "[    0.100000] Linux version 6.12.0 (a@b) #1\n"
        "[    0.100001] efi: ACPI=0x7fb7e000 MEMATTR=0x7ec41018 Unaccepted=0x7bb1e018\n"
    )
    facts = {f.name: f.value for f in import_(text(log)).header.facts}
    assert facts == {"preempt_rt": "no", "unaccepted_table": "yes", "accept_memory": "lazy"}
    eager = {f.name: f.value for f in import_("eager-boot-6.12.dmesg.gz").header.facts}
    assert eager["accept_memory"] == "eager"


def test_journalctl_prints_the_same_log(import_: Import, text: Text) -> None:
    log = (
        "-- Boot 2f1d --\n"
        "Nov 21 10:58:14 host kernel: Linux version 6.12.0 (a@b) #1\n"
        "Nov 21 10:58:16 host kernel: devtmpfs: initialized\n"
    )
    run = import_(text(log))
    assert phase(run.header, "core").end_ns == 2 * 10**9
    assert run.header.sources[0].unparsed == 0
