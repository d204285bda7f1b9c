# SPDX-License-Identifier: Apache-2.0
"""The diagnosis of this machine: what can be recorded here, and what cannot and why.

It also says what the facts mean for the numbers, and what cures there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from memtrace.errors import MemtraceError
from memtrace.probes.machine.container import container_facts
from memtrace.probes.machine.kernel import SystemDescription, describe_system
from memtrace.probes.machine.privileges import (
    NEEDS,
    Need,
    Privileges,
    bcc_cure,
    bcc_fact,
    cures,
    lacking,
    missing,
    privileges,
    sudo_command,
)
from memtrace.probes.machine.sources import names, option
from memtrace.probes.recorder import contained
from memtrace.probes.recorder.remark import Remark
from memtrace.traces.run import Fact, ProbeSite

_MOUNT = next(need for need in NEEDS if need.name == "mount")

NO_COMPILER = "as no kept programs fit and BCC is missing"
"""Why no site could be tried where there is nothing to try it with."""

Survey = Callable[[], tuple[ProbeSite, ...]]


REASONS = {
    "absent": "no such function in this kernel: not built, renamed, or inlined everywhere",
    "unused": "the function exists, and nothing on this machine, set up as it is, calls it",
    "not loaded": "the kernel module that has it is not loaded",
    "not known": "what a site would depend on cannot be read here",
    "inlined": "the function exists, but its callers hold copies that no hook sees",
    "thunked": "calls are made through thunks (retbleed=stuff), and none of those leads here",
    "notrace": "the kernel was built without a place to hook this function",
    "blacklisted": "the kernel forbids kprobes on this function",
    "refused by policy": "the kernel could, and says no: a security module or lockdown decides",
    "config missing": "the kernel was built without what this needs",
    "failed": "the kernel's verifier or loader did not take the program",
    "not allowed": "this process lacks the privilege",
    "avoided": "left out on request (--avoid)",
}
"""What each reason of a Refusal means."""


@dataclass(frozen=True)
class Diagnosis:
    """Everything that ``memtrace doctor`` says, before rendering."""

    system: SystemDescription
    held: Privileges
    bcc: Fact
    sites: tuple[ProbeSite, ...] | None
    """The site of each event; None if the sites could not be tried, and ``why_no_sites`` says why."""
    why_no_sites: str = ""
    container: tuple[Fact, ...] = ()
    """What a container's runtime put in the way (container_facts())."""

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """The facts about the system, followed by those about this process and its tools."""
        held = self.held
        numbers = {
            "kptr_restrict": ("kptr_restrict", held.kptr_restrict),
            "perf_event_paranoid": ("perf_event_paranoid", held.perf_event_paranoid),
            "unprivileged_bpf": ("unprivileged_bpf_disabled", held.unprivileged_bpf_disabled),
        }
        return (
            *self.system.facts,
            self.bcc,
            _tracefs(held),
            *(
                Fact(name, "unknown" if n is None else str(n), f"kernel.{sysctl}")
                for name, (sysctl, n) in numbers.items()
            ),
            *self.container,
        )

    def value(self, name: str) -> str:
        """Return the value of the fact ``name``, or "unknown" if there is no such fact."""
        return next((f.value for f in self.facts if f.name == name), "unknown")

    @property
    def capabilities(self) -> tuple[tuple[Need, bool], ...]:
        """Each need, and whether it is met."""
        return tuple((need, self.held.has(need)) for need in NEEDS)

    @property
    def recordable(self) -> bool | None:
        """Whether anything can be recorded; None if that could not be tried."""
        if self.sites is not None:
            return any(site.site for site in self.sites)
        return False if self.why_no_sites == NO_COMPILER else None

    @property
    def remarks(self) -> tuple[Remark, ...]:
        return (*_meanings(self), *_cures(self))

    @property
    def verdict(self) -> str:
        """One line: whether ``memtrace record`` works here, and for which events."""
        if self.sites is None:
            if self.recordable is False:
                return f"memtrace record does not work here, {NO_COMPILER}"
            return f"memtrace record: unknown here, {self.why_no_sites}"
        seen = [_with_quality(site) for site in self.sites if site.site]
        unseen = [site.event for site in self.sites if not site.site]
        if not seen:
            return "memtrace record does not work here: no event has a site"
        but = f"; not {', '.join(unseen)}" if unseen else ""
        return f"memtrace record works here: {', '.join(seen)}{but}"


def examine(survey: Survey | None = None) -> Diagnosis:
    """Examine this machine, and try every site if this process may; never raises for what is missing.

    ``survey`` tries the sites.  The default is survey.survey(), which takes about a second.
    """
    held = privileges()
    bcc = bcc_fact()
    sites, why = _try_sites(held, bcc, survey)
    return Diagnosis(describe_system(), held, bcc, sites, why, container_facts())


def _tracefs(held: Privileges) -> Fact:
    if held.tracefs_mounted:
        return Fact("tracefs", "yes", "mounted, says /proc/self/mounts")
    privately = "memtrace mounts it for itself" if held.has(_MOUNT) else "and this process may not mount it"
    return Fact("tracefs", "no", f"not mounted, says /proc/self/mounts; {privately}")


def _try_sites(
    held: Privileges, bcc: Fact, survey: Survey | None
) -> tuple[tuple[ProbeSite, ...] | None, str]:
    if lacking(held) is not None:
        return None, "as it takes privileges to try"
    if survey is None:
        from memtrace.probes.recorder.survey import survey as survey_now

        survey = survey_now
    try:
        return survey(), ""
    except MemtraceError as error:
        return None, str(error) if bcc.value == "yes" else NO_COMPILER


def _with_quality(site: ProbeSite) -> str:
    if site.time == "exact" and site.count == "exact":
        return site.event
    if site.count == "exact":
        return f"{site.event} ({'time estimated' if site.time == 'estimated' else 'no time'})"
    return (
        f"{site.event} (estimated)"
        if site.time == "estimated"
        else f"{site.event} (no time, count {site.count})"
    )


_MEANINGS = {
    ("init_on_alloc", "yes"): "every page allocation is zeroed, not only those with __GFP_ZERO; a kernel "
    "without user_alloc_needs_zeroing() (before 6.14) zeroes a huge page twice on a fault.",
    ("init_on_alloc", "no"): "the allocator zeroes __GFP_ZERO requests only.",
    ("init_on_free", "yes"): "pages are zeroed when freed, so allocating zeroes nothing: no zero.alloc.",
    ("struct_page_init", "lazy"): "an allocation may initialise struct pages first (deferred_grow_zone), and "
    "its time has that in it; this is not a mainline behaviour.",
    ("preempt_rt", "yes"): "accepting memory leaves interrupts on, and other tasks may run in between: its "
    "times are wall time, and each accept.step is a row.",
    ("lazy_accept", "yes"): "an allocation may stop to accept memory, and its time has that in it.",
    (
        "accept_memory",
        "eager",
    ): "what had to be accepted was accepted during boot, before any BPF program ran.",
    ("hyperv_paravisor", "yes"): "the paravisor accepts memory, not this kernel: acceptance does not apply.",
    ("lockdown", "confidentiality"): "the kernel refuses kprobes, perf, tracefs and BPF reads of its memory.",
    ("ftrace", "no"): "function entries are not patched: fentry and kprobes on them do not fire.",
    ("bpf_jit", "no"): "BPF programs are interpreted: fentry is impossible and every probe costs more.",
    ("confidential", "CCA"): "the kernel makes all memory the Realm's own at boot (arm64_rsi_setup_memory(), "
    "arch/arm64/kernel/rsi.c): what that takes is not seen, and nothing is accepted later.",
    ("confidential", "unknown"): "whether memory had to be accepted before the kernel ran is not known.",
    ("pid_namespace", "own"): "this is a PID namespace of its own, as in a container: processes have its "
    "numbers, also in the filters, and those outside it (record -a) have a name and none.",
    ("config", "no"): "No kernel configuration was found: its options are unknown where nothing else tells.",
}


def _meanings(d: Diagnosis) -> Iterator[Remark]:
    for fact in d.facts:
        text = _MEANINGS.get((fact.name, fact.value))
        if text is not None:
            sentence = text if text[0].isupper() else f"{fact.name} is {fact.value}: {text}"
            yield Remark(f"{fact.name}-{fact.value}", "means", sentence)
    if d.value("kprobes") == "no":
        yield Remark(
            "no-kprobes",
            "means",
            "This kernel has no kprobes, so what has no tracepoint cannot be timed exactly; "
            "memtrace still records what tracepoints give.",
        )


def _cures(d: Diagnosis) -> Iterator[Remark]:
    clause = lacking(d.held)
    if clause is not None:
        text = f"{clause[0].upper()}{clause[1:]}."
        commands = cures(d.held) or (None,)
        for name, command in zip(("privileges", "privileges-without-root"), commands, strict=False):
            yield Remark(name, "cure", text, command)
    elif d.sites is None and d.bcc.value == "yes":
        yield Remark("sites-unknown", "cure", f"The sites could not be tried: {d.why_no_sites}.")
    for need in missing(d.held):
        if not need.required and clause is None:
            yield from _lesser_need(d, need)
    bcc = bcc_cure(d.bcc)
    if bcc is not None:
        yield Remark("bcc", "cure", bcc)
    yield from contained.remarks(d.facts, d.held, d.sites is not None)
    yield from _switches(d)
    yield from _unseen(d)


def _lesser_need(d: Diagnosis, need: Need) -> Iterator[Remark]:
    if need.name == "syslog" and d.held.kptr_restrict == 2:
        yield Remark(
            "kptr_restrict",
            "cure",
            "kernel.kptr_restrict=2 hides kernel addresses from everyone.",
            "sudo sysctl kernel.kptr_restrict=1",
        )
    elif need.name == "mount":
        yield Remark(
            "tracefs",
            "cure",
            "tracefs is not mounted, and this process may not mount it for itself.",
            "sudo mount -t tracefs tracefs /sys/kernel/tracing",
        )
    else:
        text = f"{' or '.join(need.any_of)} is missing, which is for {need.gives}."
        yield Remark(need.any_of[0].lower(), "cure", text, None if d.held.contained else sudo_command())


def _switches(d: Diagnosis) -> Iterator[Remark]:
    kprobes = next((f for f in d.facts if f.name == "kprobes"), None)
    if kprobes is not None and kprobes.value == "no":
        switch = "/sys/kernel/debug/kprobes/enabled"
        if switch in kprobes.evidence:
            yield Remark("kprobes", "cure", "kprobes are switched off.", f"echo 1 | sudo tee {switch}")
        else:
            yield Remark("kprobes", "cure", "kprobes need a kernel built with CONFIG_KPROBE_EVENTS=y.")
    if d.value("ftrace") == "no" and d.system.config.get("CONFIG_DYNAMIC_FTRACE") != "n":
        yield Remark(
            "ftrace", "cure", "Function tracing is switched off.", "sudo sysctl kernel.ftrace_enabled=1"
        )
    if d.value("bpf_jit") == "no":
        yield Remark("bpf_jit", "cure", "The BPF JIT is off.", "sudo sysctl net.core.bpf_jit_enable=1")
    if d.value("btf") == "no":
        text = "No BTF: fentry and struct offsets need a kernel built with CONFIG_DEBUG_INFO_BTF=y."
        yield Remark("btf", "cure", text)
    if d.value("lockdown") == "confidentiality":
        here = option(d.system.kernel_cmdline, "lockdown") == "confidentiality"
        text = "Boot without lockdown=confidentiality." if here else "Lockdown was set by the kernel's build."
        yield Remark("lockdown", "cure", text)


def _unseen(d: Diagnosis) -> Iterator[Remark]:
    if d.value("confidential") == "unknown" and "CAP_SYSLOG" in d.held.effective:
        yield Remark(
            "platform",
            "cure",
            "The platform is not known: these devices, read as root, usually tell.",
            "sudo modprobe -a cpuid msr",
        )
    if d.value("config") == "no":
        folder = f"/lib/modules/{d.system.kernel_release}/kernel/kernel"
        if names("/", folder, r"configs\.ko.*"):
            yield Remark("config", "cure", "The configuration is in a module.", "sudo modprobe configs")
        else:
            where = f"/boot/config-{d.system.kernel_release}"
            yield Remark("config", "cure", f"Put the kernel's configuration where it is looked for: {where}.")
