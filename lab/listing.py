# SPDX-License-Identifier: Apache-2.0
"""What `memtrace lab kernels` says of each kernel: its pin, what is newer, what is prepared."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from memtrace.errors import MemtraceError
from memtrace.lab import apt, kernels, pins, stock
from memtrace.lab.debian import version_key

LOG = logging.getLogger(__name__)
HEADER = ("name", "pinned version", "newer", "ready to boot")


@dataclass(frozen=True)
class Line:
    """One kernel of the list.

    pinned  version of its packages, None where it has no pin
    newer   its series' newest version where that is newer than the pin, "" where the pin is
            the newest, None where the package lists do not tell
    ready   uname -r of what can be booted at once, None where it has to be prepared first
    other   uname -r of another version that is prepared, which serves only where the pinned
            one cannot be had
    """

    name: str
    what: str
    pinned: str | None
    newer: str | None
    ready: str | None
    other: str | None


def lines(prepare: bool = False) -> Iterator[Line]:
    """Each kernel of the list, prepared before it is told of where that is asked for.

    Without a network what is newer is told by older lists, or unknown; only preparing fails.
    """
    latest = _latest()
    pinned = pins.read()
    for entry in kernels.KERNELS:
        if prepare:
            LOG.info("preparing %s", entry.name)
            kernel: kernels.Kernel | None = kernels.prepare(entry.name)
        else:
            kernel = kernels.prepared(entry)
        other = None if kernel else kernels.prepared(entry, any_version=True)
        pin = pinned.get(entry.name)
        yield Line(
            name=entry.name,
            what=entry.what,
            pinned=pin[0].version if pin else None,
            newer=_newer(pin, latest.get(entry.name)),
            ready=kernel.release if kernel else None,
            other=other.release if other else None,
        )


def table(rows: list[Line]) -> str:
    """The lines as text, what each kernel is below it."""
    cells = [HEADER] + [
        (
            row.name,
            row.pinned or "none",
            {None: "unknown", "": "no"}.get(row.newer) or str(row.newer),
            row.ready or (f"no, but {row.other}" if row.other else "no"),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    below = ["", *(f"  {row.what}" for row in rows)]
    return "\n".join(part.rstrip() for pair in zip(text, below, strict=True) for part in pair if part)


def _latest() -> dict[str, stock.Packages | None]:
    complaint = apt.refresh_if_older(apt.DAY_S)
    if complaint:
        LOG.info("cannot look for newer versions: %s", complaint)
    try:
        return stock.newest_versions()
    except MemtraceError:
        return {}


def _newer(pin: stock.Packages | None, found: stock.Packages | None) -> str | None:
    if found is None:
        return None
    if pin and version_key(found[0].version) <= version_key(pin[0].version):
        return ""
    return found[0].version
