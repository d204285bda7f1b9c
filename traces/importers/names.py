# SPDX-License-Identifier: Apache-2.0
"""Kernel names as tracers print them: suffixes of the compiler, and events of probes."""

from __future__ import annotations

import re

_SUFFIX = re.compile(r"\.(?:part|isra|constprop|cold|llvm)\b.*")
# perf probe: NAME, NAME_1, NAME__return; tracefs by itself: p_NAME_0, r_NAME_0.
_BY_TRACEFS = re.compile(r"([pr])_(.+)_\d+")
_BY_PERF = re.compile(r"(.+?)(__return)?(?:_\d+)?")
_RETURNS = re.compile(r"(.+?)_+(?:ret|return|exit)")


def function_of(printed: str) -> str:
    """The function of ``name``, ``name+0x4/0x50`` or ``name [module]``, without the compiler's suffixes."""
    name = printed.partition("+")[0].partition(" ")[0].partition("(")[0]
    return _SUFFIX.sub("", name) if "." in name else name


def probe_candidates(event: str) -> list[tuple[str, bool]]:
    """Functions that a probe of this name may be on, and whether at their return; the likeliest first."""
    found: list[tuple[str, bool]] = []
    if match := _BY_TRACEFS.fullmatch(event):
        found.append((match[2], match[1] == "r"))
    if match := _RETURNS.fullmatch(event):
        found.append((match[1], True))
    if match := _BY_PERF.fullmatch(event):
        found.append((match[1], bool(match[2])))
    found.append((event, False))
    return found
