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
    """What one such event is, in a few words."""
    functions: tuple[str, ...] = ()
    """Kernel functions that serve it, the newest form first."""
    about: str = ""
    """What else a user must know of it, in sentences."""
    begins: str = "the function's entry"
    ends: str = "the function's return"
    sites: tuple[str, ...] = ("fentry", "kprobe")
    """Kinds of site that may serve it; each has a number of its own in the programs."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Columns that hold something particular for this event, mapped to what they hold."""
    inside: tuple[str, ...] = ()
    """Events that lie inside it, and whose time its own time includes."""
    needs: tuple[str, ...] = ()
    """Events that must be watched for it: the interval that it lies in, or what it contains."""
    witness: str = ""
    """The kernel's own figure that cannot move without the event; "" if there is none."""
    asked: bool = False
    """Whether it is recorded only where it is named, because it costs much or concerns few."""

    @property
    def macro(self) -> str:
        """Name of the macro that holds its number in BPF C."""
        return f"MT_EV_{self._upper}"

    @property
    def wanted(self) -> str:
        """Name of the macro that is set where it is watched."""
        return f"MT_WANT_{self._upper}"

    @property
    def site_macros(self) -> tuple[str, ...]:
        """Names of the macros that hold its sites' numbers in BPF C, in the order of ``sites``."""
        return tuple(f"MT_SITE_{self._upper}_{kind.upper()}" for kind in self.sites)

    @property
    def _upper(self) -> str:
        return self.name.upper().replace(".", "_")
