# SPDX-License-Identifier: Apache-2.0
"""What kind of acceptance a run could have seen, from its facts and snapshots.

*Not applicable* is said only where nothing could be accepted while recording: no
row of acceptance, and either nothing unaccepted at the start or a platform that
does it elsewhere.  Where the run cannot tell, it is not "not applicable" but
"cannot be told", with what to do.

*Unseen* is present memory less Unaccepted (readings.py) at the start: accepted before
recording by firmware or kernel, or never in need of it, and no run of a recorder can
tell these apart; the emulated platform can, since its command line says what was
unaccepted.

Whether acceptance leaves memory cleared: on TDX it does (the TDX module clears
pages on TDG.MEM.PAGE.ACCEPT); on SEV-SNP PVALIDATE does not; the emulated
platform does if the third number of ``unaccepted_emul_cost=`` is 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.accept.rows import EVENTS
from memtrace.analyzer.facts import fact

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Accepts
    from memtrace.traces.reader import Run
    from memtrace.traces.run import RunHeader

KIB = 1 << 10
_SCALE = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Platform:
    """What the run's header says of acceptance."""

    name: str
    """TDX, SEV-SNP, CCA, emulated, paravisor, plain or unknown."""
    mode: str
    """lazy, eager, not built in or unknown."""
    cleared: bool | None
    """Whether accepting leaves the memory cleared; None: unknown."""
    to_accept: int | None
    """Bytes that were unaccepted when the kernel started; None: unknown."""


def platform(header: RunHeader) -> Platform:
    """The platform and what follows from it for acceptance."""
    confidential = fact(header, "confidential")
    emulated = re.search(r"\bunaccepted_emul=(\S+)", header.kernel_cmdline)
    mode = fact(header, "accept_memory")
    if emulated:
        cost = re.search(r"\bunaccepted_emul_cost=\d+,\d+,(\w+)", header.kernel_cmdline)
        cleared = bool(cost and int(cost[1], 0))
        return Platform("emulated", mode, cleared, _emulated_bytes(emulated[1]))
    if fact(header, "hyperv_paravisor") == "yes":
        return Platform("paravisor", mode, None, None)
    if "TDX" in confidential:
        return Platform("TDX", mode, True, None)
    if "SNP" in confidential:
        return Platform("SEV-SNP", mode, False, None)
    known = confidential if confidential in ("CCA", "plain") else "unknown"
    return Platform(known, mode, None, None)


def _emulated_bytes(ranges: str) -> int | None:
    """Bytes of ``SIZE@START,…``; None where firmware made the table."""
    found = re.findall(r"(\d+)([KMG]?)@", ranges)
    return sum(int(number) * _SCALE[unit] for number, unit in found) if found else None


def before_recording(run: Run, accepts: Accepts) -> int | None:
    """Bytes accepted (or never unaccepted) before the start; None: unknown."""
    start = accepts.at("start")
    present = [node.present_bytes for node in run.header.nodes]
    if start is None or start.total is None or not present or None in present:
        return None
    return max(sum(size or 0 for size in present) - start.total, 0)


def knows_counter(run: Run) -> bool | None:
    """Whether this kernel has the counter; None where no snapshot was taken."""
    if not run.snapshots:
        return None
    by_node = (kb for s in run.snapshots for kb in s.nodes.values())
    return any("nr_unaccepted" in s.vmstat for s in run.snapshots) or any(
        "Unaccepted" in kb for kb in by_node
    )


def needless(run: Run) -> str | None:
    """Why this machine has no memory to accept, however it is recorded; None where it may have.

    It is the platform that is asked, not what was seen: accepts, or a counter above 0,
    are stronger evidence, and to be looked at first.
    """
    what = platform(run.header)
    if what.name == "CCA":
        where = _evidence(run, "confidential")
        return f"a Realm of Arm CCA makes its memory its own at boot, before any probe of a recording{where}"
    if what.mode == "not built in":
        return f"this kernel is built without support for unaccepted memory{_evidence(run, 'accept_memory')}"
    if what.name == "paravisor":
        where = _evidence(run, "hyperv_paravisor")
        return f"a paravisor accepts memory for this guest, where no kernel probe sees{where}"
    if knows_counter(run) is False:
        return "this kernel knows no unaccepted memory: /proc/vmstat has no nr_unaccepted"
    if what.name == "plain":
        plain = _evidence(run, "confidential")
        return f"this is no confidential guest: its memory needs no acceptance{plain}"
    return None


def _evidence(run: Run, name: str) -> str:
    found = next((f.evidence for f in run.header.facts if f.name == name), "")
    return f" ({found})" if found else ""


def unapplicable(run: Run, accepts: Accepts) -> str | None:
    """Why there is nothing to report, in a sentence; None where there is."""
    if accepts.any:
        return None
    start, end = accepts.at("start"), accepts.at("end")
    there = [s.total for s in (start, end) if s is not None and s.total is not None]
    if any(there):
        return None
    if (why := needless(run)) is not None:
        return f"not applicable, because {why}"
    if not recorded(run):
        return (
            "cannot be told: acceptance was not recorded in this run, and its snapshots know of no"
            " unaccepted memory; record with -e accept"
            if not there
            else "not applicable, because nothing was unaccepted at the start; acceptance was not recorded"
        )
    return _reason(platform(run.header), run, known=bool(there))


def _reason(what: Platform, run: Run, *, known: bool) -> str:
    """Why nothing was accepted while recording, though the machine may have memory to accept."""
    if what.mode == "eager":
        return (
            "not applicable, because all memory was accepted eagerly (accept_memory=eager), before"
            " recording began; `memtrace boot` shows what that took"
        )
    if not known:
        return (
            "cannot be told: no acceptance was seen and no snapshot says whether memory was unaccepted;"
            " record again with this memtrace"
        )
    lazily = fact(run.header, "lazy_accept")
    if lazily == "yes":
        return (
            "not applicable, because all memory had been accepted before recording began; start earlier"
            " in the boot"
        )
    return (
        "not applicable, because nothing was unaccepted when recording began: firmware or an eager boot"
        f" had accepted it all (lazy_accept: {lazily})"
    )


def recorded(run: Run) -> bool:
    """Whether acceptance was asked for, or some site of it is there."""
    return bool(set(run.header.events) & set(EVENTS)) or bool(served(run))


def served(run: Run) -> tuple[str, ...]:
    """The events of acceptance that a site served."""
    return tuple(s.event for s in run.header.manifest if s.event in EVENTS and s.site)
