# SPDX-License-Identifier: Apache-2.0
"""Programs that came with memtrace: in the folder ``kept`` of its package, or of its bundle."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from memtrace.probes.machine.invocation import bundle
from memtrace.probes.programs.compiled import Compiled
from memtrace.probes.programs.kept import MAX_BYTES, decoded, trusted

FOLDER = "kept"


def find(digest: str) -> Compiled | None:
    """Return the programs with this digest; None if there are none, or others could have written them."""
    entry = files("memtrace") / FOLDER / f"{digest}.programs"
    if not entry.is_file():
        return None
    place = bundle() or Path(str(entry))
    if not trusted(place.stat()):
        return None
    with entry.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        found = decoded(data)
    except ValueError:
        return None
    return found if found.digest == digest else None
