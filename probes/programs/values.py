# SPDX-License-Identifier: Apache-2.0
"""Which of a source's macros are compiled in, and which are values that are set at loading.

Addresses differ from boot to boot, offsets from kernel to kernel, limits from call to call.  As
values they leave one and the same code for all of them.  What decides whether code is there at
all, or is an argument's place, must be compiled in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FUNCTION = "MT_FN_"
"""Macros that name the function of a pair of fentry and fexit programs."""
_VALUE = re.compile(
    r"MT_(?:TAIL_NS|MIN_ORDER|COMM_[AB]|NIDS|AGG_BUCKETS"
    r"|ZERO_GFP|MOVABLE_GFP|ZEROES_ASKED|ZEROES_OTHERS|ACCEPTS_IRQS_OFF"
    r"|PAGE_OFFSET|PAGE_OFFSET_AT|NR_UNACCEPTED|\w+_(?:LO|HI)"
    r"|PAGE_FLAGS|NID_SHIFT|FOLIO_FLAGS_1|PG_HEAD|PG_UPTODATE|TASK_(?:PID|TGID|THREAD_PID|LEADER)|PID_LEVEL|PID_NUMBERS|UPID_\w+"
    r"|AC_ZONEREF|CAPTURE_PAGE|ZONEREF_ZONE|ZONE_NODE|BLOCK_PAGES|MEMORY_BLOCK_\w+|SECTION_PAGES"
    r"|KVM_\w+)"
)
_SUFFIX = re.compile(r"(?i)u?l*$")


@dataclass(frozen=True)
class Variant:
    """A source's macros by what becomes of them."""

    macros: Mapping[str, str]
    """Compiled in."""
    values: Mapping[str, int]
    """Set at loading, by the name of the macro."""
    fentry: Mapping[str, str]
    """Stem of the fentry and fexit programs, by the function that they are for."""


def variant(macros: Mapping[str, str]) -> Variant:
    """Return ``macros`` (-D) taken apart."""
    functions = {name: name.lower() for name in macros if name.startswith(_FUNCTION)}
    values = {name: number(text) for name, text in macros.items() if _VALUE.fullmatch(name)}
    rest = {name: text for name, text in macros.items() if name not in values}
    return Variant(rest | functions, values, {macros[name]: stem for name, stem in functions.items()})


def number(text: str) -> int:
    """Return the value of a C integer literal, such as ``0xffULL``."""
    return int(_SUFFIX.sub("", text), 0)
