# SPDX-License-Identifier: Apache-2.0
"""Programs that came with memtrace: in the folder ``kept`` of its package, or of its bundle."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, cast

from memtrace.probes.machine.invocation import bundle
from memtrace.probes.programs.compiled import Compiled
from memtrace.probes.programs.kept import SUFFIX, judged, trusted

FOLDER = "kept"


def find(digest: str) -> Compiled | None:
    """Return the programs with this digest; None if there are none, or others could have written them."""
    entry = files("memtrace") / FOLDER / f"{digest}{SUFFIX}"
    if not entry.is_file():
        return None
    place = bundle() or Path(str(entry))
    if not trusted(place.stat()):
        return None
    with entry.open("rb") as file:
        found = judged(place, cast(BinaryIO, file)).compiled
    return found if found is not None and found.digest == digest else None
