# SPDX-License-Identifier: Apache-2.0
"""Opening a run that has no footer, by the records in it.

Only what lies wholly before the last intact checkpoint counts, so that rows,
counters and losses are of the same moment.  The file is never changed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from memtrace.errors import MemtraceError
from memtrace.traces import footer
from memtrace.traces.records import PARQUET_MAGIC, Kind, scan

_SEGMENT_GROUPS = 256


@dataclass(frozen=True)
class Recovered:
    """What the records of a file give, up to its last checkpoint."""

    start: bytes
    """FileMetaData without rows."""
    status_json: str
    rows: int
    end: int
    """Offset after the last checkpoint."""
    dropped_bytes: int
    """Bytes of the file after it."""

    def footers(self, fd: int) -> Iterator[bytes]:
        """The run in segments of at most 256 row groups, each the metadata of a parquet file of its own.

        A day of one row group a second would otherwise be 200 MB of metadata at once.
        """
        groups = self._row_groups(fd)
        while segment := list(islice(groups, _SEGMENT_GROUPS)):
            rows = sum(count for count, _ in segment)
            yield PARQUET_MAGIC + footer.encode(self.start, self.status_json, rows, [g for _, g in segment])

    def empty_footer(self) -> bytes:
        """The metadata of a parquet file of this run without rows."""
        return PARQUET_MAGIC + footer.encode(self.start, self.status_json, 0, [])

    def footer(self, fd: int) -> bytes:
        """The footer that the file lacks."""
        return footer.encode(self.start, self.status_json, self.rows, [g for _, g in self._row_groups(fd)])

    def _row_groups(self, fd: int) -> Iterator[tuple[int, bytes]]:
        """Rows and encoded RowGroup of each row group, read from the open file again."""
        for record in scan(fd, check_bodies=False):
            if record.end > self.end:
                return
            if record.kind is Kind.ROWS:
                yield record.rows, record.meta


def recover(fd: int) -> Recovered | None:
    """The run up to the last intact checkpoint of an open file; None if there is none.

    Raises ValueError if its status is not UTF-8.
    """
    start: bytes | None = None
    found: tuple[bytes, int, int] | None = None
    rows = 0
    for record in scan(fd):
        rows += record.rows
        if record.kind is Kind.START:
            start = record.meta
        elif record.kind is Kind.STATUS:
            found = record.meta, rows, record.end
    if start is None or found is None:
        return None
    status, rows, end = found
    return Recovered(start, status.decode(), rows, end, dropped_bytes=os.fstat(fd).st_size - end)


def finished_copy(fd: int, recovered: Recovered) -> int:
    """A finished copy of a run, as the descriptor of a new file without a name.

    It is gone once closed, or with this process.  Raises MemtraceError if there is no room.
    """
    # Not /tmp, which is memory on many machines.
    folder = os.environ.get("TMPDIR", "/var/tmp")
    try:
        with tempfile.TemporaryFile(dir=folder) as copy:
            copied = 0
            while copied < recovered.end:
                copied += os.sendfile(copy.fileno(), fd, copied, recovered.end - copied)
            copy.seek(recovered.end)
            copy.write(recovered.footer(fd))
            copy.flush()
            return os.dup(copy.fileno())
    except OSError as error:
        raise MemtraceError(
            f"no temporary copy of {recovered.end:,} bytes can be made in {folder} ({error.strerror}); "
            "set TMPDIR to a folder with room"
        ) from error
