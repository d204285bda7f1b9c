# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import os
from typing import Any

import pytest

from memtrace.errors import MemtraceError
from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.machine.privileges import privileges
from memtrace.probes.recorder.diagnosis import NO_COMPILER, REASONS, Diagnosis, examine
from memtrace.probes.recorder.remark import Remark
from memtrace.traces.run import Fact, ProbeSite, Refusal

BCC = Fact("bcc", "yes", "0.26.0")
SITES = (
    ProbeSite("alloc", "fentry:get_page_from_freelist", "fentry"),
    ProbeSite("zero.alloc", "inferred:gfp", "inferred", time="estimated", count="inferred"),
    ProbeSite("zero.user", None, refused=(Refusal("folio_zero_user", "absent"),)),
)


@pytest.fixture
def guest(machine: Any) -> Any:
    """A diagnosis of a recorded guest, with changes to its files and, by keyword, to its fields."""

    def of(name: str, changes: dict[str, str | None] | None = None, **fields: Any) -> Diagnosis:
        root = machine(
            name, {"/proc/self/mounts": "tracefs /sys/kernel/tracing tracefs rw 0 0\n", **(changes or {})}
        )
        plain = Diagnosis(describe_system(root), privileges(root), BCC, SITES)
        return dataclasses.replace(plain, **fields)

    return of


def remark(d: Diagnosis, name: str) -> Remark:
    found = [r for r in d.remarks if r.id == name]
    assert len(found) == 1, [r.id for r in d.remarks]
    return found[0]


def test_the_verdict_names_what_is_exact_what_is_not_and_what_is_missing(guest: Any) -> None:
    verdict = guest("debian-6.12").verdict
    assert verdict == "memtrace record works here: alloc, zero.alloc (estimated); not zero.user"


@pytest.mark.parametrize(
    ("time", "count", "words"),
    [
        ("exact", "exact", "alloc"),
        ("estimated", "exact", "alloc (time estimated)"),
        ("unknown", "exact", "alloc (no time)"),
        ("estimated", "unknown", "alloc (estimated)"),
        ("unknown", "inferred", "alloc (no time, count inferred)"),
    ],
)
def test_the_verdict_says_how_well_an_event_is_seen(guest: Any, time: str, count: str, words: str) -> None:
    sites = (ProbeSite("alloc", "x", "rawtp", time=time, count=count),)
    assert guest("debian-6.12", sites=sites).verdict == f"memtrace record works here: {words}"


def test_nothing_is_recordable_if_no_event_has_a_site(guest: Any) -> None:
    d = guest("debian-6.12", sites=(SITES[2],))
    assert d.recordable is False
    assert "does not work here: no event has a site" in d.verdict


def test_sites_that_could_not_be_tried_leave_the_verdict_open(guest: Any) -> None:
    d = guest("debian-6.12", sites=None, why_no_sites="as it takes privileges to try")
    assert d.recordable is None
    assert d.verdict == "memtrace record: unknown here, as it takes privileges to try"


NO_BCC = Fact("bcc", "no", "No module named 'bcc'")


def test_without_bcc_and_kept_programs_nothing_is_recordable_and_the_package_is_named(guest: Any) -> None:
    d = guest("debian-6.12", sites=None, bcc=NO_BCC, why_no_sites=NO_COMPILER)
    assert d.recordable is False
    assert d.verdict == "memtrace record does not work here, as no kept programs fit and BCC is missing"
    assert "BCC" in remark(d, "bcc").text


def test_without_bcc_what_is_kept_is_recordable(guest: Any) -> None:
    d = guest("debian-6.12", bcc=NO_BCC)
    assert d.verdict == "memtrace record works here: alloc, zero.alloc (estimated); not zero.user"


def test_without_bcc_and_privileges_nobody_knows_what_is_kept(guest: Any) -> None:
    d = guest("debian-6.12", sites=None, bcc=NO_BCC, why_no_sites="as it takes privileges to try")
    assert d.recordable is None


def test_facts_that_change_the_meaning_of_numbers_are_explained(guest: Any) -> None:
    assert "every page allocation is zeroed" in remark(guest("debian-6.12"), "init_on_alloc-yes").text
    assert "zeroed when freed" in remark(guest("debian-6.1"), "init_on_free-yes").text
    assert "stop to accept memory" in remark(guest("accept-6.12"), "lazy_accept-yes").text


def test_a_kernel_without_kprobes_is_told_in_a_sentence_what_still_works(guest: Any) -> None:
    changes = {"/sys/bus/event_source/devices/kprobe/": None}
    d = guest("debian-6.12", changes)
    assert "memtrace still records what tracepoints give" in remark(d, "no-kprobes").text
    assert remark(d, "kprobes").command is None


def test_switches_that_are_off_come_with_the_command_that_turns_them_on(guest: Any) -> None:
    changes = {
        "/proc/sys/kernel/ftrace_enabled": "0\n",
        "/proc/sys/net/core/bpf_jit_enable": "0\n",
        "/sys/kernel/debug/kprobes/enabled": "0\n",
        "/proc/sys/kernel/kptr_restrict": "2\n",
    }
    d = guest("debian-6.12", changes)
    assert remark(d, "ftrace").command == "sudo sysctl kernel.ftrace_enabled=1"
    assert remark(d, "bpf_jit").command == "sudo sysctl net.core.bpf_jit_enable=1"
    assert remark(d, "kprobes").command == "echo 1 | sudo tee /sys/kernel/debug/kprobes/enabled"
    assert remark(d, "kptr_restrict").command == "sudo sysctl kernel.kptr_restrict=1"


def test_an_ordinary_root_shell_on_an_ordinary_kernel_needs_only_its_config(guest: Any) -> None:
    cures = [r.id for r in guest("debian-6.12").remarks if r.kind == "cure"]
    assert cures == ["config"]


def test_a_kernel_without_a_config_is_told_where_it_is_looked_for(guest: Any) -> None:
    d = guest("debian-6.12")
    assert "/boot/config-6.12.117+deb12-amd64" in remark(d, "config").text


def test_a_process_without_privileges_is_told_both_ways_to_get_them(guest: Any) -> None:
    status = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n"
    d = guest("debian-6.12", {"/proc/self/status": status}, sites=None)
    assert str(remark(d, "privileges").command).startswith("sudo /") or "sudo memtrace" in str(
        remark(d, "privileges").command
    )
    assert "AmbientCapabilities" in str(remark(d, "privileges-without-root").command)


def test_without_tracefs_and_the_right_to_mount_it_the_mount_is_the_cure(guest: Any) -> None:
    caps = 1 << 39 | 1 << 38 | 1 << 34 | 1 << 2
    changes = {"/proc/self/mounts": "", "/proc/self/status": f"Uid:\t0\t7\t0\t0\nCapEff:\t{caps:016x}\n"}
    d = guest("debian-6.12", changes)
    assert remark(d, "tracefs").command == "sudo mount -t tracefs tracefs /sys/kernel/tracing"
    assert d.value("tracefs") == "no"


def test_a_lockdown_from_the_command_line_is_cured_there(guest: Any) -> None:
    changes = {
        "/sys/kernel/security/lockdown": "none integrity [confidentiality]\n",
        "/proc/cmdline": "quiet lockdown=confidentiality\n",
    }
    d = guest("debian-6.12", changes)
    assert remark(d, "lockdown").text == "Boot without lockdown=confidentiality."
    assert "refuses kprobes" in remark(d, "lockdown-confidentiality").text


def test_every_fact_has_one_name(guest: Any) -> None:
    names = [f.name for f in guest("accept-6.12").facts]
    assert len(names) == len(set(names))


def test_a_survey_that_fails_is_a_reason_not_a_traceback() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: without it the survey is not tried")

    def survey() -> tuple[ProbeSite, ...]:
        raise MemtraceError("the kernel said no")

    d = examine(survey)
    assert d.sites is None
    assert "the kernel said no" in d.verdict
    assert any("the kernel said no" in r.text for r in d.remarks)


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_every_reason_the_running_kernel_gives_is_explained() -> None:
    d = examine()
    assert d.sites, d.why_no_sites
    assert {r.reason for site in d.sites for r in site.refused} <= set(REASONS)


def test_a_lesser_capability_that_is_missing_is_named_with_what_it_is_for(guest: Any) -> None:
    status = f"Uid:\t7\t7\t7\t7\nCapEff:\t{1 << 39 | 1 << 38 | 1 << 2:016x}\n"
    d = guest("debian-6.12", {"/proc/self/status": status, "/proc/sys/kernel/kptr_restrict": "1\n"})
    assert remark(d, "cap_syslog").text == (
        "CAP_SYSLOG is missing, which is for seeing kernel addresses (kallsyms) and the kernel log."
    )


CONTAINED = (Fact("pid_namespace", "own", "pid:[4026532274]"), Fact("seccomp", "filter", "Seccomp 2"))


def test_a_container_is_told_what_it_was_not_given(guest: Any) -> None:
    status = {"/proc/self/status": "Uid:\t0\t0\t0\t0\nCapEff:\t000000c000000000\n"}
    hidden = (*CONTAINED, Fact("kcore", "hidden", "a device"))
    d = guest("debian-6.12", status, container=hidden)
    d = dataclasses.replace(d, held=dataclasses.replace(d.held, contained=True))
    assert not [r for r in d.remarks if r.command and "sudo" in r.command]
    told = remark(d, "container")
    assert "it was not given: CAP_SYSLOG, CAP_DAC_READ_SEARCH, CAP_SYS_RAWIO." in told.text
    assert told.command is not None
    assert all(f"--cap-add={name}" in told.command for name in ("BPF", "PERFMON", "SYSLOG", "SYS_RAWIO"))
    assert "systempaths=unconfined" in told.command
    assert remark(d, "kcore-hidden").command == told.command
    assert "processes have its numbers" in remark(d, "pid_namespace-own").text


def test_a_seccomp_filter_is_named_only_where_it_may_be_the_reason(guest: Any) -> None:
    status = {"/proc/self/status": "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n"}
    works = guest("debian-6.12", status, container=CONTAINED)
    assert not [r for r in works.remarks if r.id in ("seccomp", "container")]
    refused = guest(
        "debian-6.12", status, container=CONTAINED, sites=None, why_no_sites="Operation not permitted"
    )
    assert "seccomp" in remark(refused, "seccomp").text
