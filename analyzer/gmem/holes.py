# SPDX-License-Identifier: Apache-2.0
"""Holes by size and alignment (holes.sql), and the ranges that they covered in part (kept.sql)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

PACKAGE = "memtrace.analyzer.gmem"
RULE = "whole, rounded, refused, kept: what a rule of no hole below 2 MiB would make of them."


def holes(model: Model) -> Table:
    """One row for each VM, size and alignment."""
    found = model.page(PACKAGE, "holes")
    notes = (RULE,) if found.rows else ()
    title = "Holes by size and alignment"
    return Table("holes", title, found.names, found.rows, found.shown, 3, notes=notes)


def kept(model: Model) -> Table:
    """One row for each VM with partly punched ranges."""
    found = model.page(PACKAGE, "kept")
    return Table("kept", "Ranges punched in part", found.names, found.rows, found.shown)
