# SPDX-License-Identifier: Apache-2.0
"""How hotplug's functions are hooked: all kprobes share two programs, and a table tells them apart."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from functools import partial

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.sites.functions import attach_pair
from memtrace.probes.sites.ladder import Candidate, Ladder, why_untraceable
from memtrace.probes.sites.system import System

_ARGUMENTS = ("pfn", "pages", "nid", "wish", "mgid", "resource", "device", "altmap")
_DESCRIBED = (*_ARGUMENTS, "shift", "fails", "early")
_COUNT = "generic_online_page"
_COUNTED = "; bytes: pages given to the allocator by generic_online_page()"


class _Function(ctypes.Structure):
    """struct mt_hot_function_t, hotplug.bpf.c."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        *((name, ctypes.c_int8) for name in _ARGUMENTS),
        *((name, ctypes.c_uint8) for name in ("shift", "fails", "early")),
        ("unused", ctypes.c_uint8 * 5),
    )


def kprobes_first(
    system: System, ladder: Ladder, function: str, number: int, numbers: dict[str, int]
) -> Ladder:
    """Return ``ladder`` with its kprobe before its fentry; without the kprobe if the address is unknown."""
    symbol = system.symbols.one(function)
    by_kind = {candidate.kind: candidate for candidate in ladder.candidates}
    kprobe, fentry = by_kind.get("kprobe"), by_kind.get("fentry")
    if kprobe is None or symbol is None:
        alone = (fentry,) if fentry else ()
        return dataclasses.replace(ladder, candidates=alone, macros=ladder.macros | {"MT_HOT_FENTRY": "1"})
    described = _Function(address=symbol.address, **{n: v for n, v in numbers.items() if n in _DESCRIBED})
    attach = partial(_attach_shared, function=function, number=number, described=described)
    kept: tuple[Candidate, ...] = (dataclasses.replace(kprobe, attach=attach, standalone=True),)
    if fentry:
        kept = (*kept, dataclasses.replace(fentry, attach=partial(_attach_fentry, function=function)))
    return dataclasses.replace(ladder, candidates=kept)


def _attach_shared(module: Module, function: str, number: int, described: _Function) -> None:
    attach_pair(module, function, "mt_hot")
    module.update("mt_hot_functions", ctypes.c_uint32(number), described)


def _attach_fentry(module: Module, function: str) -> None:
    if not module.has_fentry(function):
        raise RefusedError("avoided", "compiled only where there are no kprobes, or with --avoid kprobe")
    module.attach_fentry(function)


def counting(system: System, ladder: Ladder) -> Ladder:
    """Return the ladder of hot.online with each candidate twice: first with generic_online_page() counted.

    It is returned as it is where generic_online_page() takes no probe.
    """
    if why_untraceable(system, _COUNT) is not None:
        return ladder
    counted = tuple(
        dataclasses.replace(
            candidate,
            attach=partial(_attach_counting, outer=candidate.attach, kind=candidate.kind),
            decode=candidate.decode + _COUNTED,
        )
        for candidate in ladder.candidates
    )
    pairs = zip(counted, ladder.candidates, strict=True)
    both: tuple[Candidate, ...] = tuple(candidate for pair in pairs for candidate in pair)
    return dataclasses.replace(ladder, candidates=both, macros=ladder.macros | {"MT_FN_HOT_PAGE": _COUNT})


def _attach_counting(module: Module, outer: Callable[[Module], None], kind: str) -> None:
    if kind == "fentry" and module.has_fentry(_COUNT):
        module.attach_fentry(_COUNT, exit_=False)
    else:
        module.attach_kprobe(_COUNT, "mt_hot_page_kprobe")
    outer(module)
    module.update("mt_hot_counted", ctypes.c_uint32(0), ctypes.c_uint64(1))
