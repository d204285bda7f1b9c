# SPDX-License-Identifier: Apache-2.0
"""What a logical event is: one record, from which numbers, names, help and documentation follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """A logical event."""

    name: str
    """TOPIC.PART, as in the ``event`` column."""
    doc: str
    """What one occurrence is."""
    functions: tuple[str, ...] = ()
    """Kernel functions that serve it, the newest form first."""
    about: str = ""
    """What its user must know besides, in sentences."""
    begins: str = "the function's entry"
    ends: str = "the function's return"
    sites: tuple[str, ...] = ("fentry", "kprobe")
    """Kinds of site that may serve it; each has a number of its own in the programs."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Columns that hold something particular here, and what."""
    inside: tuple[str, ...] = ()
    """Events that lie inside of it: its time holds theirs."""
    needs: tuple[str, ...] = ()
    """Events that must be watched for it: as the interval it lies in, or for what it contains."""
    witness: str = ""
    """What of the kernel's own figures cannot move without it; "" if there is none."""
    asked: bool = False
    """Recorded only where it is named, since recording it costs much or concerns few."""

    @property
    def macro(self) -> str:
        """Name of its number in BPF C."""
        return f"MT_EV_{self._upper}"

    @property
    def wanted(self) -> str:
        """Macro that is set where it is watched."""
        return f"MT_WANT_{self._upper}"

    @property
    def site_macros(self) -> tuple[str, ...]:
        """Names of its sites' numbers in BPF C, in the order of ``sites``."""
        return tuple(f"MT_SITE_{self._upper}_{kind.upper()}" for kind in self.sites)

    @property
    def _upper(self) -> str:
        return self.name.upper().replace(".", "_")
