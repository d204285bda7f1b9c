# SPDX-License-Identifier: Apache-2.0
"""Rewriting a run of many small row groups in large ones.

A recording that aggregates in the kernel writes a few thousand rows a second,
each second a row group: an hour of them reads several times slower, and is
larger, than the same rows in a few row groups.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.traces.output import OutputFile
from memtrace.traces.reader import open_records
from memtrace.traces.writer import RunWriter

ABOVE_GROUPS = 64
BELOW_ROWS = 64_000


def compact(
    file: OutputFile, groups: int, rows: int, hurried: Callable[[], bool] = lambda: False
) -> OutputFile | None:
    """Rewrites a finished run if it has many row groups with few rows each; the new, open file.

    The new file is made beside the run and renamed over it when it is whole and on
    disk.  None if there was no need, it did not work (a full disk), the run is not at
    its path any more, or ``hurried()`` became true: the run is then as it was.
    """
    if groups <= ABOVE_GROUPS or rows >= groups * BELOW_ROWS:
        return None
    try:
        new = file.successor()
    except OSError:
        return None
    try:
        _rewrite(file, new, rows, hurried)
        if file.in_place():
            new.publish()
            return new
    except (MemtraceError, OSError, MemoryError):
        pass
    except BaseException:
        _drop(new)
        raise
    _drop(new)
    return None


def _drop(new: OutputFile) -> None:
    new.abandon()
    new.close()


def _rewrite(file: OutputFile, new: OutputFile, rows: int, hurried: Callable[[], bool]) -> None:
    import pyarrow as pa

    # By its descriptor: what is at the path may be another file by now.
    run = open_records(Path(f"/proc/{os.getpid()}/fd/{file.fd}"))
    writer = RunWriter.inside(new, run.header)
    for batch in run.batches():
        if hurried():
            raise MemtraceError(f"{file.path} is left as it is")
        writer.write(pa.Table.from_batches([batch]))
    writer.finish(run.status)
    if writer.rows != rows:
        raise MemtraceError(f"{file.path}: only {writer.rows} of {rows} rows can be read back")
