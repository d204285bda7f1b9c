# SPDX-License-Identifier: Apache-2.0
"""Rewriting a run of many small row groups in large ones.

A recording that aggregates in the kernel writes a few thousand rows a second,
each second a row group: an hour of them reads several times slower, and is
larger, than the same rows in a few row groups.
"""

from __future__ import annotations

import os
from pathlib import Path

from memtrace.errors import MemtraceError

ABOVE_GROUPS = 64
BELOW_ROWS = 64_000


def compact(path: Path, groups: int, rows: int) -> int | None:
    """Rewrites the run at ``path`` if it has many row groups with few rows each; its new size.

    The rewritten file is made beside it and renamed over it when it is whole
    and on disk.  None if there was no need or it did not work (a full disk): the
    run is then as it was.
    """
    if groups <= ABOVE_GROUPS or rows >= groups * BELOW_ROWS:
        return None
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        size = _rewrite(path, temporary, rows)
        temporary.rename(path)
        return size
    except (MemtraceError, OSError, MemoryError):
        return None
    finally:
        temporary.unlink(missing_ok=True)


def _rewrite(path: Path, target: Path, rows: int) -> int:
    import pyarrow as pa

    from memtrace.traces.reader import open_records
    from memtrace.traces.writer import RunWriter

    run = open_records(path)
    with RunWriter(target, run.header) as writer:
        for batch in run.batches():
            writer.write(pa.Table.from_batches([batch]))
        writer.close(run.status, compact=False)
        if writer.rows != rows:
            raise MemtraceError(f"{path}: only {writer.rows} of {rows} rows can be read back")
        return writer.bytes_written
