# SPDX-License-Identifier: Apache-2.0
"""Programs for a source and its macros: the kept ones, else compiled now and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memtrace.errors import MemtraceError
from memtrace.probes.programs import kept, shipped
from memtrace.probes.programs.compiled import Compiled, digest
from memtrace.probes.programs.compiler import compiled, settings
from memtrace.probes.programs.values import Variant, variant


class NotKeptError(MemtraceError):
    """No kept programs fit, and compiling was not asked for."""


@dataclass(frozen=True)
class Obtained:
    """Programs, and what a loader gives them."""

    compiled: Compiled
    variant: Variant
    kept: bool
    """Whether they were kept from an earlier time, and nothing was compiled now."""


def obtain(text: str, macros: Mapping[str, str], made_for: str, compiling: bool = True) -> Obtained:
    """Return the programs of ``text``; ``made_for`` says in words what they are for.

    Raises MemtraceError if none are kept and BCC can't compile them, and NotKeptError if
    none are kept and ``compiling`` is false.
    """
    given = variant(macros)
    values = tuple(sorted(given.values))
    name = digest(text, given.macros, values, settings())
    found = kept.find(name) or shipped.find(name)
    if found is not None and found.values == values:
        return Obtained(found, given, kept=True)
    if not compiling:
        raise NotKeptError("no kept programs fit: run `memtrace programs build` with the same options")
    made = compiled(text, given.macros, values, name, made_for)
    kept.keep(made)
    return Obtained(made, given, kept=False)
