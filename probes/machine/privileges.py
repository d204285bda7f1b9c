# SPDX-License-Identifier: Apache-2.0
"""What this process may do, what recording needs, and the command that supplies what is missing."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from memtrace.errors import MemtraceError
from memtrace.probes.machine.invocation import called
from memtrace.probes.machine.pidns import pid_namespace
from memtrace.probes.machine.sources import Root, exists, read_text
from memtrace.traces.run import Fact

# include/uapi/linux/capability.h
CAPABILITIES = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RAWIO": 17,
    "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
_AMBIENT = ("CAP_BPF CAP_PERFMON", "CAP_SYSLOG CAP_DAC_READ_SEARCH CAP_SYS_RAWIO")
_INITIAL_USER_NAMESPACE = "0 0 4294967295"


@dataclass(frozen=True)
class Need:
    """Something recording needs from the kernel, and the capabilities, any one of which grants it.

    Without a ``required`` need nothing can be recorded.  Without another one, less
    can be; ``gives`` says what the need is for.
    """

    name: str
    any_of: tuple[str, ...]
    gives: str
    required: bool = False


NEEDS: tuple[Need, ...] = (
    Need("bpf", ("CAP_BPF", "CAP_SYS_ADMIN"), "loading BPF programs", True),
    Need("perfmon", ("CAP_PERFMON", "CAP_SYS_ADMIN"), "attaching them to the kernel", True),
    Need("syslog", ("CAP_SYSLOG",), "seeing kernel addresses (kallsyms) and the kernel log"),
    Need("tracefs", ("CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"), "reading tracefs"),
    Need("kcore", ("CAP_SYS_RAWIO",), "reading the kernel's code (/proc/kcore) for call sites"),
    Need("mount", ("CAP_SYS_ADMIN",), "mounting tracefs privately where it is not mounted"),
)


@dataclass(frozen=True)
class Privileges:
    """Effective capabilities, and the settings that decide what they permit.

    A setting is None where it could not be read.
    """

    effective: frozenset[str]
    """The names in CAPABILITIES that are effective."""
    uid: int
    initial_user_namespace: bool | None
    """False in a container with its own user namespace: capabilities there do not reach BPF."""
    kptr_restrict: int | None
    perf_event_paranoid: int | None
    unprivileged_bpf_disabled: int | None
    tracefs_mounted: bool | None = None
    contained: bool = False
    """Whether it is in a PID namespace of its own, where nobody can add what it was not given."""

    def has(self, need: Need) -> bool:
        """Return whether ``need`` is granted, by a capability or because a setting asks for none."""
        if need.name == "mount" and self.tracefs_mounted:
            return True
        if self.initial_user_namespace is False:
            return False
        if any(cap in self.effective for cap in need.any_of):
            return need.name != "syslog" or self.kptr_restrict != 2
        return need.name == "syslog" and self._addresses_for_all()

    def _addresses_for_all(self) -> bool:
        # kernel/ksyms_common.c: kallsyms_show_value
        paranoid = 2 if self.perf_event_paranoid is None else self.perf_event_paranoid
        return self.kptr_restrict == 0 and paranoid <= 1


def privileges(root: Root = "/") -> Privileges:
    """Read what this process may do now (``root`` for a recorded tree)."""
    status = read_text(root, "/proc/self/status") or ""
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    bits = int(fields.get("CapEff", "0"), 16)
    # Without CONFIG_USER_NS this file does not exist, and the initial namespace is the only one.
    uid_map = read_text(root, "/proc/self/uid_map") or (_INITIAL_USER_NAMESPACE if status else "")
    uids = fields.get("Uid", "").split()
    return Privileges(
        effective=frozenset(name for name, bit in CAPABILITIES.items() if bits >> bit & 1),
        uid=int(uids[1]) if len(uids) > 1 else os.geteuid(),
        initial_user_namespace=" ".join(uid_map.split()) == _INITIAL_USER_NAMESPACE if uid_map else None,
        kptr_restrict=_number(root, "kptr_restrict"),
        perf_event_paranoid=_number(root, "perf_event_paranoid"),
        unprivileged_bpf_disabled=_number(root, "unprivileged_bpf_disabled"),
        tracefs_mounted=tracefs_mount(root) is not None,
        contained=pid_namespace(root).value == "own",
    )


def tracefs_mount(root: Root = "/") -> str | None:
    """Return where tracefs is mounted; None if it is not."""
    for line in (read_text(root, "/proc/self/mounts") or "").splitlines():
        words = line.split()
        if len(words) > 2 and words[2] == "tracefs":
            return words[1]
    return None


def missing(held: Privileges | None = None) -> tuple[Need, ...]:
    """Return the needs that are not met, required ones first."""
    held = held or privileges()
    return tuple(need for need in NEEDS if not held.has(need))


def lacking(held: Privileges | None = None) -> str | None:
    """Return a clause that says why nothing can be recorded; None if something can."""
    held = held or privileges()
    names = [need.any_of[0] for need in missing(held) if need.required]
    if not names:
        return None
    if held.initial_user_namespace is False:
        return "this process runs in a user namespace (a container), where capabilities do not reach BPF"
    return f"recording needs {' and '.join(names)}, which this process lacks"


def cures(held: Privileges) -> tuple[str, ...]:
    """Return the commands that would run this one with the privileges it lacks, best first.

    In a container there is none: it has to be started with them (probes/machine/container.py).
    """
    if held.initial_user_namespace is False:
        return (sudo_command(),)
    if held.contained:
        return ()
    return (sudo_command(), ambient_command(held.uid))


def refusal(held: Privileges | None = None) -> str | None:
    """Return a sentence that says why nothing can be recorded, and the cure; None if something can."""
    held = held or privileges()
    clause = lacking(held)
    if clause is None:
        return None
    if held.initial_user_namespace is False:
        return f"{clause}: on the host, run {cures(held)[0]}"
    if held.contained:
        return f"{clause}: start the container with the options that `memtrace doctor` has"
    return f"{clause}: run {', or, without root, '.join(cures(held))}"


def require_recording(held: Privileges | None = None) -> None:
    """Raise MemtraceError, with the cure, unless this process may record."""
    sentence = refusal(held)
    if sentence is not None:
        raise MemtraceError(sentence)


def sudo_command() -> str:
    """Return this command line under sudo, by full path: sudo's own PATH lacks a venv's commands."""
    return shlex.join(["sudo", *called()])


def ambient_command(uid: int) -> str:
    """Return the command for a transient unit that runs this one as ``uid``.

    The unit has only the capabilities that recording uses.
    """
    # systemd merges repeated settings.
    settings = " ".join(f"--property='AmbientCapabilities={caps}'" for caps in _AMBIENT)
    return (
        f"sudo systemd-run --pty --pipe --wait --collect --same-dir --uid={uid} "
        f"{settings} {shlex.join(called())}"
    )


def bcc_fact() -> Fact:
    """Return whether the real BCC can be imported: "yes" or "no", with the path or the reason.

    The package called ``bcc`` on PyPI is something else; BCC comes from the
    distribution, as python3-bpfcc (Debian, Ubuntu) or python3-bcc (Fedora, RHEL).
    """
    try:
        import bcc
    except ImportError as error:
        return Fact("bcc", "no", str(error))
    except OSError as error:
        return Fact("bcc", "no", f"its library cannot be loaded: {error}")
    where = getattr(bcc, "__file__", None) or "a namespace package"
    if not hasattr(bcc, "BPF"):
        return Fact("bcc", "no", f"{where} is not BCC but another package of that name")
    return Fact("bcc", "yes", f"{getattr(bcc, '__version__', 'unknown version')} at {where}")


def bcc_cure(fact: Fact, root: Root = "/") -> str | None:
    """Return the sentence that says how to get BCC; None if ``fact`` says it is there."""
    if fact.value == "yes":
        return None
    if "another package" in fact.evidence:
        lead = f"pip uninstall bcc ({fact.evidence}), then install BCC from the distribution"
    elif exists(root, "/usr/lib/python3/dist-packages/bcc/__init__.py"):
        return (
            "BCC is installed, but this Python does not see it: make the venv with "
            "/usr/bin/python3 -m venv --system-site-packages"
        )
    else:
        lead = f"BCC cannot be imported ({fact.evidence}): install it from the distribution"
    return f"{lead}: sudo apt install python3-bpfcc, or sudo dnf install python3-bcc"


def require_bcc() -> None:
    """Raise MemtraceError, with the line that installs it, unless BCC can be imported."""
    cure = bcc_cure(bcc_fact())
    if cure is not None:
        raise MemtraceError(cure)


def _number(root: Root, name: str) -> int | None:
    text = read_text(root, f"/proc/sys/kernel/{name}")
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
