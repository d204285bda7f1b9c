# SPDX-License-Identifier: Apache-2.0
"""The site ladder: for each logical event, the best form of site that this kernel takes.

The kernel's version decides nothing.  Candidates are tried best first, and each one that
fails leaves its reason in the manifest (absent, unused, not loaded, not known, inlined, thunked,
notrace, blacklisted, config missing, refused by policy, not allowed, failed; avoided on request).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from memtrace.errors import MemtraceError
from memtrace.probes.machine import tracefs
from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.sites.system import System
from memtrace.traces.run import ProbeSite, Refusal


@dataclass(frozen=True)
class Candidate:
    """One way to see an event on this kernel."""

    event: str
    site: str
    """Name in the ``site`` column and in refusals."""
    kind: str
    function: str | None
    """The resolved kernel symbol; None for a candidate that hooks no function."""
    attach: Callable[[Module], None]
    decode: str
    offsets: tuple[int, ...] = ()
    inclusive_of: tuple[str, ...] = ()
    time: str = "exact"
    count: str = "exact"
    standalone: bool = False
    """Whether its kprobe programs are always compiled with the topic, not only where a fentry was refused."""
    number: str = ""
    """What stands in ``macro`` for the kind, where a program serves several kinds or a kind several
    programs; "" for the kind."""
    beside: tuple[Candidate, ...] = ()
    """Candidates, best first, for a second site of the event, which sees what this one does not."""

    @property
    def macro(self) -> str:
        """Name of the macro that holds the site's number in BPF C."""
        return named("MT_SITE", f"{self.event}.{self.number or self.kind}")

    @classmethod
    def on(
        cls,
        function: str,
        kind: str,
        attach: Callable[[Module], None],
        *,
        event: str,
        decode: str,
        inclusive_of: tuple[str, ...] = (),
        standalone: bool = False,
    ) -> Candidate:
        """Return the candidate that sees ``function`` from entry to return."""
        return cls(
            event=event,
            site=f"{kind}:{function}",
            kind=kind,
            function=function,
            attach=attach,
            decode=decode,
            inclusive_of=inclusive_of,
            standalone=standalone,
        )


@dataclass(frozen=True)
class Ladder:
    """An event's candidates, best first, and those ruled out before any is tried."""

    event: str
    candidates: tuple[Candidate, ...]
    ruled_out: tuple[Refusal, ...] = ()
    macros: dict[str, str] = field(default_factory=dict)


def named(prefix: str, event: str) -> str:
    """Return an event's name in BPF C, such as MT_FN_ACCEPT_CALL for ``MT_FN`` and ``accept.call``."""
    return f"{prefix}_{event.upper().replace('.', '_')}"


def climb(
    ladder: Ladder, module: Module, avoid: tuple[str, ...] = ()
) -> tuple[ProbeSite, tuple[Candidate, ...]]:
    """Attach the first candidate that the kernel takes whole, leaving out the kinds in ``avoid``.

    The same is then done with the candidates for a second site beside it.  Returns the event's
    line of the manifest, and the candidates that were attached.
    """
    refused = list(ladder.ruled_out)
    with module.serving(ladder.event):
        candidate = _first(ladder.candidates, module, avoid, refused)
        second = _first(candidate.beside if candidate else (), module, avoid, refused)
    if candidate is None:
        site = ProbeSite(ladder.event, None, time="unknown", count="unknown", refused=tuple(refused))
        return site, ()
    site = ProbeSite(
        event=ladder.event,
        site=candidate.site,
        kind=candidate.kind,
        function=candidate.function,
        offsets=candidate.offsets,
        decode=candidate.decode + (f"; {second.decode}" if second else ""),
        inclusive_of=candidate.inclusive_of,
        time=candidate.time,
        count=candidate.count,
        refused=tuple(refused),
        beside=second.site if second else None,
    )
    return site, (candidate, second) if second else (candidate,)


def _first(
    candidates: tuple[Candidate, ...], module: Module, avoid: tuple[str, ...], refused: list[Refusal]
) -> Candidate | None:
    """Attach the first candidate that the kernel takes and return it; add the others to ``refused``."""
    for candidate in candidates:
        if candidate.kind in avoid:
            refused.append(Refusal(candidate.site, "avoided", f"--avoid {candidate.kind}"))
            continue
        try:
            with module.transaction():
                candidate.attach(module)
        except RefusedError as error:
            refused.append(Refusal(candidate.site, error.reason, error.detail))
            continue
        return candidate
    return None


def rule_out(ladder: Ladder, kind: str, refusal: Refusal) -> Ladder:
    """Return ``ladder`` without the candidates of ``kind``, each ruled out for the reason of ``refusal``."""
    every = [several for c in ladder.candidates for several in (c, *c.beside)]
    ruled_out = [Refusal(c.site, refusal.reason, refusal.detail) for c in every if c.kind == kind]
    if not ruled_out:
        return ladder
    kept = tuple(
        dataclasses.replace(c, beside=tuple(second for second in c.beside if second.kind != kind))
        for c in ladder.candidates
        if c.kind != kind
    )
    unique = tuple(dict.fromkeys((*ladder.ruled_out, *ruled_out)))
    return dataclasses.replace(ladder, candidates=kept, ruled_out=unique)


def why_untraceable(system: System, function: str) -> Refusal | None:
    """Return the reason known beforehand why ``function`` takes no function probe, or None."""
    if not system.symbols.names(function):
        return Refusal(function, "absent", "no such symbol: not in this kernel, or inlined into its callers")
    if tracefs.blacklisted(function):
        return Refusal(function, "blacklisted", "listed in kprobes/blacklist")
    if tracefs.traceable(function, system.filter_functions) is False:
        return Refusal(function, "notrace", "not in available_filter_functions")
    return None


def why_no_kprobes(system: System) -> Refusal | None:
    """Return the reason known beforehand why no kprobe can be set, or None."""
    if system.config.get("CONFIG_KPROBES") == "n":
        return Refusal("kprobe", "config missing", "CONFIG_KPROBES is not set")
    return None


def resolve(system: System, stems: tuple[str, ...]) -> str | None:
    """Return the first of ``stems`` that this kernel has, with its compiler-made suffix, or None."""
    for stem in stems:
        names = system.symbols.names(stem)
        if names:
            return names[0]
    return None


def together(ladders: Iterable[Ladder]) -> dict[str, str]:
    """Return the macros of all ladders; raises MemtraceError if two give one name different values.

    The programs of all ladders are compiled as one text, in which a name has one meaning.
    """
    macros: dict[str, str] = {}
    for ladder in ladders:
        for name, value in ladder.macros.items():
            if macros.setdefault(name, value) != value:
                raise MemtraceError(
                    f"{ladder.event} takes {name} for {value}, another event for {macros[name]}: "
                    "please report this"
                )
    return macros
