# SPDX-License-Identifier: Apache-2.0
"""Writing a run file so that it opens whenever its writer stops.

Rows are appended as parquet row groups, each in a record (``records.py``), and
a checkpoint closes them off; nothing written before is touched again.
``close`` appends an ordinary parquet footer, so that a finished run is a plain
parquet file; a run without one opens up to its last checkpoint.

What a checkpoint survives: once ``checkpoint`` returns, the end of this process
by any signal.  A crash of the machine or a power cut only with ``fsync=True``,
which waits for the disk; without it the kernel writes back by itself within
about half a minute (vm.dirty_expire_centisecs), and what had not reached the
disk is told by its checksums and left out.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from memtrace.errors import MemtraceError
from memtrace.traces import footer, partials, summing
from memtrace.traces.astray import check
from memtrace.traces.output import MODE, OutputFile, create
from memtrace.traces.records import HEADER_SIZE, PARQUET_MAGIC, Kind, pack, scan
from memtrace.traces.refusals import cannot_write
from memtrace.traces.run import RunHeader, RunStatus, to_json
from memtrace.traces.schema import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

Rewrite: TypeAlias = Callable[[OutputFile, int, int], OutputFile | None]
"""From a finished file, its row groups and rows to one that took its place; None if none did."""
MAX_ROW_GROUP = 1_000_000
"""Rows; more are cut into several row groups."""
_SMALL_DICTIONARY = 256


@dataclass(frozen=True)
class _Mark:
    """How far the file is in order."""

    position: int = 0
    sequence: int = 0
    groups: int = 0
    rows: int = 0


class RunWriter:
    """Writes one run.  Not for use from several threads at once.

    If writing fails (MemtraceError), the file is cut back to the last
    checkpoint, the rows since are in ``rows_lost``, and the writer goes on
    from there: ``close`` may still find room for a footer.
    """

    def __init__(self, path: Path, header: RunHeader, *, overwrite: bool = False, mode: int = MODE) -> None:
        """Creates the file with its header in it.

        With ``overwrite`` an earlier file stays until the new one holds its
        header: that one is written beside it and renamed over it.

        Raises MemtraceError if there is a file and ``overwrite`` is not set, if
        it is not a regular file or being written by another process, or if it cannot
        be written.
        """
        import pyarrow.parquet  # noqa: F401  (at the first checkpoint it would be late)

        file = create(path, overwrite=overwrite, mode=mode)
        try:
            self._begin(file, header)
            if overwrite:
                self._sync()
            file.publish()
        except BaseException as error:
            file.abandon()
            file.close()
            if isinstance(error, OSError):
                raise cannot_write(path, error) from error
            raise

    @classmethod
    def inside(cls, file: OutputFile, header: RunHeader) -> RunWriter:
        """A writer of a file that the caller has made, publishes and closes."""
        writer = cls.__new__(cls)
        writer._begin(file, header)
        return writer

    def _begin(self, file: OutputFile, header: RunHeader) -> None:
        self.path = file.path
        self._file: OutputFile | None = file
        self._fd = file.fd
        self._schema = arrow_schema()
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._taken = 0
        self._now = self._safe = _Mark()
        self._start = footer.start_metadata(to_json(header))
        self._append([PARQUET_MAGIC])
        self._append_record(Kind.START, self._start)
        self._safe = self._now

    @property
    def rows(self) -> int:
        """Rows in the file; those waiting for the next checkpoint are not counted."""
        return self._now.rows

    @property
    def rows_lost(self) -> int:
        """Rows that ``write`` took and that could not be written."""
        return self._taken - self._now.rows - self._pending_rows

    @property
    def bytes_written(self) -> int:
        """Size of the file."""
        return self._now.position

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets go of the file; unless ``close`` was called it is left cut short."""
        self._release()

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file, self._fd = None, -1

    def write(self, table: pa.Table) -> None:
        """Takes rows of ``arrow_schema()``; they are safe after the next checkpoint.

        They are kept, not copied: the table's buffers must not change until then.
        Raises ValueError if the columns are other ones, or null where they must not be.
        """
        _check(table, self._schema)
        self._taken += len(table)
        self._pending_rows += len(table)
        self._pending.append(table)
        while self._pending_rows >= MAX_ROW_GROUP:
            self._flush()

    def checkpoint(self, status: RunStatus, *, fsync: bool = False) -> None:
        """Makes all rows so far, and ``status``, part of what opens after a crash.

        ``rows`` and ``complete`` of the status are filled in here.  Raises
        MemtraceError if the file cannot be written.
        """
        while self._pending_rows:
            self._flush()
        self._append_status(dataclasses.replace(status, complete=False))
        if fsync:
            self._sync()

    def close(self, status: RunStatus, rewrite: Rewrite | None = None) -> None:
        """Ends the file (``finish``), and checks that it is still the one at its path.

        ``rewrite`` may give a better file in its place (``compact.py``).  Raises
        MemtraceError as ``finish`` does, and if the file was deleted, moved or
        replaced, which says where its content is now.
        """
        try:
            self.finish(status)
            if self._file is None:
                return
            if rewrite and (new := rewrite(self._file, self._now.groups, self._now.rows)):
                self._file.close()
                self._file, self._fd = new, new.fd
                self._now = dataclasses.replace(self._now, position=os.fstat(new.fd).st_size)
            check(self._file)
        finally:
            self._release()

    def finish(self, status: RunStatus) -> None:
        """Writes a last checkpoint and a parquet footer, and waits for the disk.

        Raises MemtraceError if rows were lost by it, or the footer could not be
        written; the file then opens up to its last checkpoint.
        """
        lost: MemtraceError | None = None
        try:
            while self._pending_rows:
                self._flush()
        except MemtraceError as error:
            # Without the rows there may be room for the status and the footer.
            lost, status = error, dataclasses.replace(status, complete=False)
            self._pending, self._pending_rows = [], 0
        self._append_status(status)
        self._append_footer(status)
        self._sync()
        if lost:
            raise lost

    def _flush(self) -> None:
        """Writes up to MAX_ROW_GROUP pending rows as one row group."""
        import pyarrow as pa

        table = pa.concat_tables(self._pending)
        self._pending = [table.slice(MAX_ROW_GROUP)]
        table = table.slice(0, MAX_ROW_GROUP)
        self._pending_rows -= len(table)
        pages, row_group = footer.encode_rows(
            _tidy(table), self._now.position + HEADER_SIZE, self._now.groups
        )
        self._append_record(Kind.ROWS, row_group, pages, len(table))

    def _append_status(self, status: RunStatus) -> None:
        text = to_json(dataclasses.replace(status, rows=self._now.rows))
        self._append_record(Kind.STATUS, text.encode())
        self._safe = self._now

    def _append_footer(self, status: RunStatus) -> None:
        # Read again rather than kept: they are 2 kB for each checkpoint.
        groups = [r.meta for r in scan(self._fd, check_bodies=False) if r.kind is Kind.ROWS]
        if len(groups) != self._now.groups:
            raise MemtraceError(f"{self.path} does not read back as it was written; check the disk")
        text = to_json(dataclasses.replace(status, rows=self._now.rows))
        self._append([footer.encode(self._start, text, self._now.rows, groups)])
        # A second footer, after the first: the file is whole at every moment.
        if (sums := summing.made(self._fd, partials.rare(self._now.rows, status) or frozenset())) is not None:
            self._safe = self._now
            with suppress(MemtraceError):
                self._append([footer.encode(self._start, text, self._now.rows, groups, sums)])

    def _append_record(self, kind: Kind, meta: bytes, body: bytes | memoryview = b"", rows: int = 0) -> None:
        now = self._now
        self._append(
            pack(kind, now.sequence, meta, body, rows),
            sequence=now.sequence + 1,
            groups=now.groups + (kind is Kind.ROWS),
            rows=now.rows + rows,
        )

    def _append(self, parts: Sequence[bytes | memoryview], **counts: int) -> None:
        """Writes at the end, or cuts the file back to the last checkpoint and raises."""
        position = self._now.position
        try:
            for part in parts:
                view = memoryview(part)
                while view:
                    written = os.pwrite(self._fd, view, position)
                    position += written
                    view = view[written:]
            # In one step, lest a signal's exception come between.
            self._now = dataclasses.replace(self._now, position=position, **counts)
        except BaseException as error:
            self._now = self._safe
            os.ftruncate(self._fd, self._safe.position)
            if isinstance(error, OSError):
                raise cannot_write(self.path, error) from error
            raise

    def _sync(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise cannot_write(self.path, error) from error


def _check(table: pa.Table, schema: pa.Schema) -> None:
    if not table.schema.equals(schema):
        raise ValueError(f"columns are not those of a run: {table.schema}")
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ValueError(f"nulls in {field.name}")


def _tidy(table: pa.Table) -> pa.Table:
    """The table with one dictionary for each column, and no large one with unused entries.

    Parquet stores the whole dictionary with each row group: one that grows over
    the run, as that of the stacks does, would be stored again at each checkpoint.
    """
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        column: Any = table.column(index)
        if not pa.types.is_dictionary(field.type):
            continue
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if len(array.dictionary) > _SMALL_DICTIONARY:
            import pyarrow.compute as pc

            used = pc.unique(array.indices.drop_null())
            indices = pc.index_in(array.indices, value_set=used).cast(field.type.index_type)
            array = pa.DictionaryArray.from_arrays(indices, array.dictionary.take(used))
        table = table.set_column(index, field, array)
    return table
