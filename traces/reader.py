# SPDX-License-Identifier: Apache-2.0
"""Opening run files: finished ones, and those whose recorder never closed them.

Whatever a file is, it gives a ``Run`` or one sentence about what is wrong.
"""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.errors import MemtraceError
from memtrace.traces import columns
from memtrace.traces.gate import Refused
from memtrace.traces.given import is_folder, is_there
from memtrace.traces.records import PARQUET_MAGIC, RECORD_MAGIC
from memtrace.traces.recovery import Recovered, recover
from memtrace.traces.run import header_from_json, status_from_json
from memtrace.traces.run_file import Run, damaged, refused
from memtrace.traces.schema import KEY_HEADER, KEY_PARTIALS, KEY_SCHEMA, KEY_STATUS, SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["NothingYet", "Run", "open_records", "open_run", "open_runs", "run_paths"]


class NothingYet(MemtraceError):
    """A run that was cut short before anything was in it, or whose recording has only begun."""


def open_run(path: str | Path) -> Run:
    """Opens one run file.

    Raises MemtraceError, saying what is wrong and what to do, for anything that
    is not a run this version reads; NothingYet for one without a checkpoint.
    """
    path = Path(path)
    fd = _open(path)
    try:
        head = os.pread(fd, len(PARQUET_MAGIC + RECORD_MAGIC), 0)
        if not head:
            raise NothingYet(f"{path} is empty; nothing was recorded in it")
        if not head.startswith(PARQUET_MAGIC[: len(head)]):
            raise MemtraceError(f"{path} is not a run (not parquet): give what `memtrace record` wrote")
        return _finished(path, fd) or _unfinished(path, fd, head)
    finally:
        os.close(fd)


def open_records(path: Path) -> Run:
    """Opens a run by its records alone, footer or not: in less memory if it has thousands of row groups.

    Raises MemtraceError if it has no checkpoint.
    """
    fd = _open(path)
    try:
        return _unfinished(path, fd, PARQUET_MAGIC + RECORD_MAGIC)
    finally:
        os.close(fd)


def open_runs(pattern: str | Path) -> list[Run]:
    """The runs of a file, of a folder (its ``*.parquet``) or of a glob pattern, sorted by name.

    Raises MemtraceError if there are none, or one of them does not open.
    """
    return [open_run(path) for path in run_paths(pattern)]


def run_paths(pattern: str | Path) -> list[Path]:
    """The files of a folder (its ``*.parquet``) or of a glob pattern, sorted by name; else the file itself.

    Raises MemtraceError (exit 2) if there are none.
    """
    if pattern == "":
        raise MemtraceError("the name of a run is empty; give a run, a folder or a quoted pattern", 2)
    path = Path(pattern)
    if is_folder(path):
        paths = sorted(path.glob("*.parquet"))
        if not paths:
            raise MemtraceError(f"{path} has no *.parquet in it; give a run or a folder of runs", 2)
    elif is_there(path) or not glob.has_magic(str(pattern)):
        paths = [path]
    else:
        paths = sorted(Path(p) for p in glob.glob(str(pattern), recursive=True))  # noqa: PTH207  (absolute too)
        if not paths:
            raise MemtraceError(f"nothing matches {pattern}; give a run, a folder or a quoted pattern", 2)
    return paths


def _open(path: Path) -> int:
    """A descriptor of a regular file, to read."""
    try:
        # O_NONBLOCK: a FIFO must be refused, not waited for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise MemtraceError(f"{path} does not exist; `memtrace record -o {path}` makes a run") from error
    except PermissionError as error:
        raise MemtraceError(f"{path} may not be read by you; chmod or chown it, or use sudo") from error
    except OSError as error:
        raise MemtraceError(f"{path} cannot be opened ({error.strerror}); give a run") from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    what = "a folder; give a run in it" if stat.S_ISDIR(mode) else "not a regular file; give a run"
    raise MemtraceError(f"{path} is {what}")


def _finished(path: Path, fd: int) -> Run | None:
    """The run by its footer; None if that is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(fd, "rb", closefd=False) as file:
            metadata = pq.read_metadata(file)
        if KEY_SCHEMA.encode() not in (metadata.metadata or {}):
            raise MemtraceError(f"{path} is parquet, but not of memtrace; give a run of `memtrace record`")
        return _run(path, metadata, None)
    except Refused as error:
        # Nothing broke: it was written so, and its records are no better.
        raise refused(path, error) from error
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError):
        return None


def _unfinished(path: Path, fd: int, head: bytes) -> Run:
    """The run by its records."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not (PARQUET_MAGIC + RECORD_MAGIC).startswith(head):
        raise MemtraceError(f"{path} is a damaged parquet file, and not one of `memtrace record`; give a run")
    try:
        if (recovered := recover(fd)) is None:
            raise NothingYet(
                f"{path} is cut short, or still being recorded; nothing was recorded in it so far"
            )
        return _run(path, pq.read_metadata(pa.BufferReader(recovered.empty_footer())), recovered)
    except Refused as error:
        raise refused(path, error) from error
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise damaged(path, error) from error


def _run(path: Path, metadata: pq.FileMetaData, recovered: Recovered | None) -> Run:
    """Raises ValueError or KeyError if the documents in the metadata are damaged."""
    found: dict[bytes, bytes] = metadata.metadata or {}
    version = int(found[KEY_SCHEMA.encode()])
    if version > SCHEMA_VERSION:
        raise MemtraceError(
            f"{path} has schema {version} and this memtrace reads up to {SCHEMA_VERSION}; use a newer one"
        )
    if version < 1:
        raise Refused(f"has schema {version}")
    columns.check_metadata(metadata)
    sums = found.get(KEY_PARTIALS.encode())
    return Run(
        path=path,
        header=header_from_json(found[KEY_HEADER.encode()].decode()),
        status=status_from_json(found[KEY_STATUS.encode()].decode()),
        schema_version=version,
        rows=recovered.rows if recovered else metadata.num_rows,
        columns=columns.known(metadata),
        cut_short=recovered is not None,
        dropped_bytes=recovered.dropped_bytes if recovered else 0,
        partials_json=None if sums is None else sums.decode(),
        _recovered=recovered,
    )
