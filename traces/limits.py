# SPDX-License-Identifier: Apache-2.0
"""What numbers and lists of a run file may be, as types that a dataclass can declare.

The gate (traces/gate.py) reads these from the annotations; to everything else
``Nid`` is an int.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

INT64_MAX = (1 << 63) - 1
UINT64_MAX = (1 << 64) - 1


@dataclass(frozen=True)
class Range:
    """A whole number from ``low`` to ``high``, both allowed; ``power``: a power of two."""

    low: int
    high: int
    power: bool = False


@dataclass(frozen=True)
class AtMost:
    """A list, an object or a text of at most so many items or characters."""

    items: int


ANY_INT = Range(-(1 << 63), INT64_MAX)
"""Of an int without a range of its own."""
ANY_LIST = AtMost(100_000)
"""Of a list or an object without a limit of its own."""
ANY_TEXT = AtMost(1 << 20)
"""Of a text without a limit of its own: an argument of a command may have 128 KiB."""

# Times have a bit to spare, so that no sum or difference of two leaves 64 bits.
Ns = Annotated[int, Range(0, (1 << 62) - 1)]
SignedNs = Annotated[int, Range(-(1 << 62), (1 << 62) - 1)]
Count = Annotated[int, Range(0, INT64_MAX)]
Sum64 = Annotated[int, Range(0, UINT64_MAX)]
"""A counter of the kernel's, which may have gone round."""
Nid = Annotated[int, Range(0, 1023)]
Cpu = Annotated[int, Range(0, 65_535)]
Pid = Annotated[int, Range(0, (1 << 31) - 1)]
Pfn = Annotated[int, Range(0, 1 << 52)]
Order = Annotated[int, Range(0, 52)]
PageSize = Annotated[int, Range(4096, 1 << 30, power=True)]
Status = Annotated[int, Range(-(1 << 31), (1 << 31) - 1)]
VmNumber = Annotated[int, Range(1, (1 << 31) - 1)]
