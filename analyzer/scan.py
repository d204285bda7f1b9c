# SPDX-License-Identifier: Apache-2.0
"""One pass over a run: its rows as partial aggregates, by DuckDB, in bounded memory.

The quick form of the scan takes for granted that the rows of one group know the
same quantities (or none of them), and that no duration is negative.  It counts
what is known, so that it notices when that is wrong; then the file is scanned
again, with the nulls among the keys and negative durations taken as 0.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from memtrace.analyzer import callers
from memtrace.analyzer.keys import Key
from memtrace.analyzer.nulls import all_null, each_once
from memtrace.analyzer.partials import NO_BUCKET, Partials, of_kept
from memtrace.analyzer.rare import is_rare
from memtrace.errors import MemtraceError
from memtrace.traces import partials as kept
from memtrace.traces.histogram import SUB_BITS, bucket_of
from memtrace.traces.partials import Unknown
from memtrace.traces.run_file import damaged
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt

    from memtrace.traces.reader import Run

MEMORY_LIMIT = "256MB"
"""For DuckDB; beyond it, it spills to the temporary folder."""

_MOST_THREADS = 16
"""Each wants some of the memory."""

MAX_GROUPS = 300_000
"""Partial aggregates that are taken out of DuckDB: about 100 MB of them."""

_SUMS = {"count": Unknown.COUNT, "bytes": Unknown.BYTES, "total_ns": Unknown.TOTAL, "self_ns": Unknown.SELF}


def edge(duration: str, bits: int = SUB_BITS) -> str:
    """SQL for the lower edge of the bucket of a duration, an octave being split into 2**bits.

    For SUB_BITS that of traces.histogram.bucket_of(), but for its last bucket.
    """
    # A duration without its lowest s bits, where s = floor(log2(d)) - bits (0 up to
    # 2 * 2**bits).  The cast rounds to the nearest, so s begins where log2(d) - bits
    # reaches it, less 1e-13: more than ln() is off by, less than integers below
    # 2**TOP_BIT are apart.  Every operation here costs about 1 ns a row.
    shift = f"((ln({duration} | {1 << bits}) * {math.log2(math.e)!r} - {bits + 0.5 - 1e-13!r})::BIGINT)"
    return f"(({duration} >> {shift}) << {shift})"


NOT_NEGATIVE = '(CASE WHEN "dur_ns" < 0 THEN 0 ELSE "dur_ns" END)'
_QUICK = edge('"dur_ns"')
_CAREFUL = edge(NOT_NEGATIVE)
_ONE_BY_ONE = f"rare AND flags & {int(Flag.AGGREGATED)} = 0"
_QUICK_RARE = f'CASE WHEN {_ONE_BY_ONE} THEN "dur_ns" ELSE {_QUICK} END'
_CAREFUL_RARE = f"CASE WHEN {_ONE_BY_ONE} THEN {NOT_NEGATIVE} ELSE {_CAREFUL} END"


class TooManyGroupsError(MemtraceError):
    """The keys split a run into more than MAX_GROUPS partial aggregates."""

    def __init__(self, keys: Sequence[Key]) -> None:
        words = ", ".join(key.word for key in keys)
        super().__init__(f"grouped by {words} there are more than {MAX_GROUPS} groups; give --by fewer keys")


@contextmanager
def connect(run: Run, *others: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB to scan a run (and ``others`` with it): on up to 16 cores, in bounded memory.

    It opens no file but theirs and its own temporary ones, and loads no extension; neither
    can be changed.  What DuckDB complains of inside becomes a MemtraceError.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="memtrace-", ignore_cleanup_errors=True) as spill:
        connection = duckdb.connect(
            config={
                "threads": min(max(1, len(os.sched_getaffinity(0))), _MOST_THREADS),
                "memory_limit": MEMORY_LIMIT,
                "preserve_insertion_order": False,
                "temp_directory": spill,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                # No variable of ours is a table by its name.
                "python_enable_replacements": False,
            }
        )
        try:
            with told(run):
                connection.execute("SET allowed_paths = $1", [[one.scan_path for one in (run, *others)]])
                # Where Python runs no script, as in a notebook, DuckDB draws one on stdout.
                connection.execute("SET enable_progress_bar = false")
                connection.execute("SET enable_external_access = false")
                connection.execute("SET lock_configuration = true")
                yield connection
        finally:
            connection.close()


@contextmanager
def told(run: Run) -> Iterator[None]:
    """Let what DuckDB complains of, while it reads a run, be a MemtraceError."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise MemtraceError(
            f"{run.path} has too many groups for {MEMORY_LIMIT} of memory and the space in"
            f" {tempfile.gettempdir()}; give --by fewer keys, or set TMPDIR to another folder"
        ) from error
    except duckdb.Error as error:
        raise damaged(run.path, error) from error


def partials(
    run: Run,
    keys: Sequence[Key],
    connection: duckdb.DuckDBPyConnection,
    *,
    with_pfn: bool = False,
    with_durations: bool = True,
) -> Partials:
    """The partial aggregates of a run by ``keys``: those that it carries, else of its rows.

    Without durations every bucket is NO_BUCKET: quicker, and fewer, where only
    sums are wanted.  Raises TooManyGroupsError.
    """
    if run.partials is not None and run.summed_up and carried(keys):
        columns = {key.output: key.column for key in keys}
        return of_kept(run.partials, columns, with_pfn=with_pfn, with_durations=with_durations)
    return scanned(run, keys, connection, with_pfn=with_pfn, with_durations=with_durations)


def carried(keys: Sequence[Key]) -> bool:
    """Whether the partial aggregates that runs carry tell these keys apart."""
    return all(key.sql is None and key.column in kept.KEYS for key in keys)


def scanned(
    run: Run,
    keys: Sequence[Key],
    connection: duckdb.DuckDBPyConnection,
    *,
    with_pfn: bool = False,
    with_durations: bool = True,
) -> Partials:
    """The partial aggregates of a run's rows by ``keys``.  Raises TooManyGroupsError."""
    quantities = dict(_SUMS) | ({"pfn": Unknown.PFN} if with_pfn else {})
    read = {*quantities, "dur_ns"} if with_durations else set(quantities)
    empty = {"dur_ns", *quantities} - read | all_null(run, sorted(read), connection)
    unread = dict.fromkeys(sorted(empty), "NULL")
    if each_once(run, connection):
        unread["count"] = "1"
    question = _Question(
        run,
        tuple(keys),
        quantities,
        unread,
        kept.rare(run.rows, run.status) if "dur_ns" not in empty else frozenset(),
    )
    try:
        return _partials(question, _answer(question, connection))
    except TooManyGroupsError:
        if question.rare == frozenset():
            raise
        whole = replace(question, rare=frozenset())
        return _partials(whole, _answer(whole, connection))


@dataclass(frozen=True)
class _Question:
    run: Run
    keys: tuple[Key, ...]
    quantities: Mapping[str, Unknown]
    """Columns to be summed."""
    unread: Mapping[str, str]
    """Of these and of dur_ns, the columns that have one value throughout, and that value."""
    rare: Collection[str] | None = frozenset()
    """The events whose streamed durations are kept one by one; None for all."""


def _answer(question: _Question, connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    import duckdb

    try:
        columns = _scan(question, connection, careful=False)
    except (duckdb.ConversionException, duckdb.OutOfRangeException):
        columns = {}
    if not columns or _doubtful(columns):
        columns = _scan(question, connection, careful=True)
    return columns


def _doubtful(columns: dict[str, Any]) -> bool:
    """Whether the rows of a group differ in what they know, or a duration is negative."""
    if len(columns["rows"]) and (columns["edge"] < 0).any():
        return True
    return any(((n != 0) & (n != columns["rows"])).any() for n in _known(columns).values())


def _scan(question: _Question, connection: duckdb.DuckDBPyConnection, *, careful: bool) -> dict[str, Any]:
    """The grouped rows as columns (masked where null), see _partials() for their names."""
    import duckdb

    quantities, unread = question.quantities, question.unread
    groups = {f"key_{i}": key.expression for i, key in enumerate(question.keys)}
    groups |= {"flags": '"flags"', "edge": _CAREFUL if careful else _QUICK}
    if question.rare != frozenset():
        groups["edge"] = _CAREFUL_RARE if careful else _QUICK_RARE
    if careful:
        nulls = (f'{bit:d} * ("{name}" IS NULL)::INTEGER' for name, bit in quantities.items())
        groups["nulls"] = " + ".join(nulls)
    sums = {"rows": "count(*)", "max_ns": 'max("dur_ns")'}
    sums |= {name: f'sum("{name}")::BIGINT' for name in _SUMS}
    sums |= {f"known_{bit.name}": f'count("{name}")' for name, bit in quantities.items()}
    if "pfn" in quantities:
        sums["sum_pfn"] = '(sum("pfn") % 18446744073709551616)::UBIGINT'

    source = {"flags", "dur_ns", *quantities, *(key.column for key in question.keys)}
    source |= {"event"} if question.rare else set()
    rows = question.run.relation(connection, sorted(source - unread.keys()))
    if question.rare != frozenset():
        rows = rows.select(duckdb.StarExpression(), is_rare(question.rare).alias("rare"))
    if unread:
        rows = rows.project(", ".join(["*", *(f'{v}::BIGINT AS "{name}"' for name, v in unread.items())]))
    stacks = None
    if any(key.column == "stack" for key in question.keys):
        rows, stacks = callers.numbered(rows, connection)
    selected = ", ".join(f'{sql} AS "{name}"' for name, sql in (groups | sums).items())
    by = ", ".join(str(i + 1) for i in range(len(groups)))
    grouped = f"SELECT {selected} FROM rows_ GROUP BY {by} LIMIT {MAX_GROUPS + 1}"
    columns: dict[str, Any] = callers.query(rows, grouped).fetchnumpy()
    if len(columns["rows"]) > MAX_GROUPS:
        raise TooManyGroupsError(question.keys)
    for i, key in enumerate(question.keys):
        columns[f"key_{i}"] = _values(columns[f"key_{i}"], key, stacks)
    return columns


def _values(column: npt.NDArray[Any], key: Key, stacks: callers.Stacks | None) -> list[Any]:
    """Plain values, None for null, with numbers of stacks and callers as what they stand for."""
    values: list[Any] = column.tolist()
    if stacks is None or key.column != "stack":
        return values
    texts = stacks.caller if key.word == "caller" else stacks.stack
    return [None if value is None else texts[value] for value in values]


def _known(columns: dict[str, Any]) -> dict[Unknown, Any]:
    """In how many rows of each group a quantity is known."""
    return {bit: columns[name] for bit in Unknown if (name := f"known_{bit.name}") in columns}


def _partials(question: _Question, columns: dict[str, Any]) -> Partials:
    import numpy as np

    def filled(name: str, dtype: type = np.int64) -> npt.NDArray[Any]:
        return np.ma.filled(columns[name], 0).astype(dtype)

    unknown = np.zeros(len(columns["rows"]), dtype=np.int64)
    for bit, number in _known(columns).items():
        unknown |= np.where(number == 0, int(bit), 0)
    bucket = np.where(np.ma.getmaskarray(columns["edge"]), NO_BUCKET, bucket_of(filled("edge")))
    longest = np.maximum(filled("max_ns"), 0)
    return Partials(
        keys={key.output: columns[f"key_{i}"] for i, key in enumerate(question.keys)},
        flags=filled("flags"),
        unknown=unknown,
        bucket=bucket,
        rows=filled("rows"),
        max_ns=longest,
        alike=(filled("edge") == longest) & (filled("flags") & int(Flag.AGGREGATED) == 0),
        sum_pfn=filled("sum_pfn", np.uint64) if "sum_pfn" in columns else None,
        **{name: filled(name) for name in _SUMS},
    )
