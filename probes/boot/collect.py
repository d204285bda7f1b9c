# SPDX-License-Identifier: Apache-2.0
"""The boot of the running machine as a run: its sources are gathered, then imported like saved files."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.probes.boot import gather
from memtrace.probes.boot.kit import RUN
from memtrace.probes.machine.sources import read_text
from memtrace.traces.importers.assemble import Outcome, Request, run_import
from memtrace.traces.output import MODE, refuse_same
from memtrace.traces.reader import open_run


@dataclass(frozen=True)
class Wanted:
    """What ``memtrace boot collect`` was asked for."""

    output: Path
    overwrite: bool = False
    merge: Path | None = None
    save: Path | None = None
    argv: tuple[str, ...] = ()
    mode: int = MODE
    """Permission bits of the output."""


@dataclass(frozen=True)
class Collected:
    """What collect() wrote, and what it lacked."""

    outcome: Outcome
    missing: tuple[tuple[str, str], ...]
    """Names of the sources that were not there, each with the reason."""
    merged: Path | None


def collect(wanted: Wanted) -> Collected:
    """Gather the sources and write the run.  Raises MemtraceError."""
    if wanted.save is not None and wanted.save.is_dir() and any(wanted.save.iterdir()):
        raise MemtraceError(f"--save {wanted.save}: the folder is not empty; give a new one")
    merge, why = (wanted.merge, "") if wanted.merge else recorded()
    if merge is not None:
        refuse_same(wanted.output, [merge])
    texts = gather.gather(wanted.argv)
    missing = [(one.name, one.why_not) for one in texts if one.text is None]
    if why:
        missing.append(("record", why))
    with tempfile.TemporaryDirectory(prefix="memtrace-") as scratch:
        folder = wanted.save or Path(scratch)
        try:
            paths = gather.save(texts, folder)
        except OSError as error:
            raise MemtraceError(
                f"cannot write to {folder} ({error.strerror}): give another --save"
            ) from error
        formats = {one.name: one.format for one in texts}
        files = tuple(f"{formats[path.name]}:{path}" for path in sorted(paths))
        request = Request(files, wanted.output, wanted.overwrite, merge, argv=wanted.argv, mode=wanted.mode)
        return Collected(run_import(request), tuple(missing), merge)


def recorded(path: Path = Path(RUN)) -> tuple[Path | None, str]:
    """Return the run that the boot kit's unit recorded in this boot, and ""; else None, and why."""
    if not path.exists():
        return None, f"no {path}: nothing was recorded from early user space"
    try:
        with open_run(path) as run:
            ours = read_text("/", "/proc/sys/kernel/random/boot_id")
            if run.header.boot_id != ours:
                return None, f"{path} was recorded in another boot, and left out"
    except MemtraceError as error:
        return None, str(error)
    return path, ""
