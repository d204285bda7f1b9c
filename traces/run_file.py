# SPDX-License-Identifier: Apache-2.0
"""An open run: its documents, and its rows in bounded memory, as Arrow batches or as a DuckDB relation."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from memtrace.errors import MemtraceError
from memtrace.traces import columns as gate_columns
from memtrace.traces import partials
from memtrace.traces.gate import Refused
from memtrace.traces.partials import Kept
from memtrace.traces.recovery import Recovered, finished_copy
from memtrace.traces.run import RunHeader, RunStatus, Snapshot
from memtrace.traces.schema import COLUMN_NAMES, arrow_schema

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

_SQL_TYPES = {
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint32": "UINTEGER",
}


@dataclass(frozen=True)
class Run:
    """An open run.  Rows are read from ``path`` each time they are asked for."""

    path: Path
    header: RunHeader
    status: RunStatus
    schema_version: int
    rows: int
    columns: tuple[str, ...]
    """Columns of this version's schema that the file has; the others read as null."""
    cut_short: bool
    """The recorder did not finish the file: ``status`` is the last checkpoint's."""
    dropped_bytes: int = 0
    """Bytes after the last checkpoint; what is in them is not read."""
    partials_json: str | None = field(default=None, repr=False)
    """The partial aggregates that the file carries, not yet looked at."""
    _recovered: Recovered | None = field(default=None, repr=False)

    @property
    def whole(self) -> bool:
        """Whether recorder and file came to their end."""
        return self.status.complete and not self.cut_short

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """All of header and status."""
        return (*self.header.snapshots, *self.status.snapshots)

    @cached_property
    def partials(self) -> Kept | None:
        """The partial aggregates that the file carries; None without any.

        Raises MemtraceError for what no recorder writes.
        """
        if self.partials_json is None:
            return None
        try:
            return partials.read(self.partials_json)
        except Refused as error:
            raise refused(self.path, error) from error

    @property
    def summed_up(self) -> bool:
        """Whether the sums that the file carries say all that its rows do, but for who and when.

        Of a run with few rows each duration is in the rows alone.
        """
        return self.partials is not None and self.rows > partials.EXACT_ROWS

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes the temporary copy, if there is one; relations on it end with it."""
        if (fd := self.__dict__.pop("_scan_fd", None)) is not None:
            os.close(fd)

    def batches(
        self, columns: Sequence[str] | None = None, *, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        """The rows in file order, in batches of at most ``batch_rows``.

        ``columns`` and their order default to those of ``arrow_schema()``, whose types they have.
        Dictionaries may differ from batch to batch.  Raises MemtraceError if the file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([arrow_schema().field(c) for c in _wanted(columns)])
        present = [c for c in schema.names if c in self.columns]
        try:
            for metadata in self._segments():
                # pre_buffer would keep all of the file that was read.
                with pq.ParquetFile(
                    self.path, metadata=metadata, pre_buffer=False, page_checksum_verification=True
                ) as file:
                    gate_columns.check_metadata(file.metadata)
                    for batch in file.iter_batches(batch_rows, columns=present):
                        gate_columns.check_batch(batch)
                        yield _conform(batch, schema)
        except Refused as error:
            raise refused(self.path, error) from error
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            raise damaged(self.path, error) from error

    def relation(
        self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str] | None = None
    ) -> duckdb.DuckDBPyRelation:
        """The rows as a relation: DuckDB scans the file, in parallel, each time it is used.

        Columns the file does not have are NULLs of their type.  Raises MemtraceError if the file
        cannot be opened, or if a row of these columns is not what it must be.
        """
        import duckdb

        wanted = _wanted(columns)
        try:
            rows = connection.read_parquet([self.scan_path])
            if unseen := [c for c in wanted if c in self.columns and c not in self._checked]:
                gate_columns.check_rows(rows, unseen)
                self._checked.update(unseen)
            return rows.project(", ".join(self._sql(c) for c in wanted))
        except Refused as error:
            raise refused(self.path, error) from error
        except duckdb.Error as error:
            raise damaged(self.path, error) from error

    @cached_property
    def _checked(self) -> set[str]:
        """Columns whose rows have passed the gate: each is looked through once."""
        return set()

    @property
    def scan_path(self) -> str:
        """A name under which any reader in this process finds the whole run as plain parquet.

        A run that was cut short is copied once, to an unnamed file in TMPDIR (or
        /var/tmp), and given its footer; the copy goes with ``close`` or this process.
        """
        path = str(self.path.absolute())
        # DuckDB would take the name for a pattern.
        if self._recovered is None and not glob.has_magic(path):
            return path
        return f"/proc/self/fd/{self._scan_fd}"

    # A bare descriptor, which no garbage collection closes: another file could get
    # its number while a relation still names it.
    @cached_property
    def _scan_fd(self) -> int:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            fd = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise damaged(self.path, error) from error
        if self._recovered is None:
            return fd
        try:
            copy = finished_copy(fd, self._recovered)
            # Its footer was put together from the file's own pieces: what it says counts, not they.
            with open(copy, "rb", closefd=False) as file:
                gate_columns.check_metadata(pq.read_metadata(file))
            return copy
        except Refused as error:
            raise refused(self.path, error) from error
        except (pa.ArrowException, ValueError, OSError, MemoryError) as error:
            raise damaged(self.path, error) from error
        finally:
            os.close(fd)

    def _segments(self) -> Iterator[pq.FileMetaData | None]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._recovered is None:
            yield None
            return
        fd = os.open(self.path, os.O_RDONLY)
        try:
            for encoded in self._recovered.footers(fd):
                yield pq.read_metadata(pa.BufferReader(encoded))
        finally:
            os.close(fd)

    def _sql(self, column: str) -> str:
        if column in self.columns:
            return f'"{column}"'
        type_ = str(arrow_schema().field(column).type)
        return f'CAST(NULL AS {_SQL_TYPES.get(type_, "VARCHAR")}) AS "{column}"'


def refused(path: Path, error: Refused) -> MemtraceError:
    """What is said of a file that is whole, but has what no recorder writes."""
    return MemtraceError(f"{path} {error}; memtrace does not write that: ask for the run as it was recorded")


def damaged(path: Path, error: Exception) -> MemtraceError:
    """What is said of a file that cannot be decoded, or no longer be read."""
    if isinstance(error, OSError) and error.strerror:
        return MemtraceError(f"{path} cannot be read ({error.strerror}); give a run that can")
    reason = str(error).partition("\n")[0]
    return MemtraceError(f"{path} is damaged ({reason}); copy it again, or record it again")


def _wanted(columns: Sequence[str] | None) -> Sequence[str]:
    return COLUMN_NAMES if columns is None else columns


def _conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns of ``schema``; those it has not are null."""
    import pyarrow as pa

    if batch.schema.equals(schema):
        return batch
    present = set(batch.schema.names)
    arrays: list[Any] = [
        batch.column(f.name).cast(f.type) if f.name in present else pa.nulls(len(batch), f.type)
        for f in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
