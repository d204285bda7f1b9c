# SPDX-License-Identifier: Apache-2.0
"""What those fields of a record stand for that mean different things in different events.

``gfp`` holds gfp flags, or pages asked for, or how many occurrences the record sums;
``pages`` holds pages, or the errno of what failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from memtrace.probes.recorder.ring import UNKNOWN_U32
from memtrace.probes.topics.events import GUESTS, NAMES
from memtrace.traces.schema import Flag

Mask: TypeAlias = "npt.NDArray[np.bool_] | None"
"""Which records; None: none."""


@dataclass(frozen=True)
class Kinds:
    """Events, by number, whose records use the shared fields in one way."""

    gfp: frozenset[int] = frozenset()
    """gfp flags."""
    if_nested_gfp: frozenset[int] = frozenset()
    """gfp flags of the allocation around them, 0 if there is none."""
    asked: frozenset[int] = frozenset()
    """Instead of gfp flags, the pages asked for."""
    summed: frozenset[int] = frozenset()
    """Instead of gfp flags, how many they stand for."""
    exact: frozenset[int] = frozenset()
    """No pages means none, not that their number is unknown."""
    hot: frozenset[int] = frozenset()
    """Perhaps, instead of gfp flags, pages asked for; of failures, the errno instead of pages."""
    guest: frozenset[int] = frozenset()
    """Of virtual machines: with vm, vcpu, gfn and pages requested; 0 pages are known to be none."""


def kinds(sees_arch: bool) -> Kinds:
    """The kinds of all events; what a call really accepted is known only if ``accept.arch`` is seen."""
    hot = (name for name in NAMES if name.startswith("hot."))
    return Kinds(
        gfp=_numbers("alloc", "zero.alloc"),
        if_nested_gfp=_numbers("accept.burst", "accept.block", "accept.arch"),
        asked=_numbers("accept.call"),
        summed=_numbers("accept.step"),
        exact=_numbers("accept.call") if sees_arch else frozenset(),
        hot=_numbers(*hot),
        guest=_numbers(*GUESTS),
    )


def _numbers(*events: str) -> frozenset[int]:
    return frozenset(NAMES.index(event) for event in events)


@dataclass(frozen=True)
class Meaning:
    """The shared fields of some records, told apart."""

    count: npt.NDArray[np.int64]
    sums: bool
    """Whether some record stands for many occurrences."""
    pages: npt.NDArray[np.int64]
    no_pages: npt.NDArray[np.bool_]
    """Where the number of pages is unknown."""
    has_gfp: Mask
    asked: Mask
    """Where ``requested`` is the number of pages asked for."""
    requested: npt.NDArray[Any]
    failed: Mask
    """Where ``error`` is an errno."""
    error: npt.NDArray[np.int64]
    guest: Mask


def meaning(records: npt.NDArray[Any], event: npt.NDArray[Any], kinds: Kinds) -> Meaning:
    """What the shared fields of ``records`` stand for; ``event`` is their column of that name."""
    gfp, pages = np.ascontiguousarray(records["gfp"]), records["pages"].astype(np.int64)
    are = _chooser(event)
    nested, guest = are(kinds.if_nested_gfp), are(kinds.guest)
    has_gfp = _either(are(kinds.gfp), None if nested is None else nested & (gfp != 0))
    asked, exact = are(kinds.asked), _either(are(kinds.exact), guest)
    error, failed, requested = pages, None, gfp
    if (hot := are(kinds.hot)) is not None:
        failed = hot & ((records["flags"] & np.uint32(Flag.FAILED)) != 0)
        pages = np.where(failed, 0, pages)
        partly = hot & (gfp != 0)
        asked, exact = _either(asked, partly), _either(exact, partly)
        failed &= error != 0
    no_pages = pages == 0
    if exact is not None:
        no_pages &= ~exact
    if guest is not None:
        no_pages |= guest & (pages == int(UNKNOWN_U32))
        requested = np.where(guest, records["requested"], gfp)
        asked = _either(asked, guest & (records["requested"] != 0))
    count = np.ones(len(event), dtype=np.int64)
    if (summed := are(kinds.summed)) is not None:
        count[summed] = gfp[summed]
    return Meaning(
        count, summed is not None, pages, no_pages, has_gfp, asked, requested, failed, error, guest
    )


def _chooser(event: npt.NDArray[Any]) -> Callable[[frozenset[int]], Mask]:
    present = frozenset(np.flatnonzero(np.bincount(event)).tolist())

    def are(events: frozenset[int]) -> Mask:
        return np.isin(event, list(events & present)) if events & present else None

    return are


def _either(one: Mask, other: Mask) -> Mask:
    if one is None or other is None:
        return other if one is None else one
    return one | other
