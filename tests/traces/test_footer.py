# SPDX-License-Identifier: Apache-2.0
"""Row groups of a run: their pages lie where the metadata says, wherever they were moved to."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from memtrace.tests.traces.conftest import MakeRows, MakeRun
from memtrace.traces import footer, thrift
from memtrace.traces.schema import COLUMN_NAMES, arrow_schema

# PageHeader of parquet.thrift: field 1 is the page type.
DATA_PAGE, DICTIONARY_PAGE = 0, 2


def page_type(data: bytes, offset: int) -> int:
    kind: int = thrift.decode(data, offset)[0][1][1]
    return kind


def test_every_offset_points_at_its_page(tmp_path: Path, make_run: MakeRun, make_rows: MakeRows) -> None:
    path = tmp_path / "run.parquet"
    make_run(path, [make_rows(1000, seed) for seed in range(5)])
    data = path.read_bytes()
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups == 5
    end = 0
    for group in range(5):
        row_group = metadata.row_group(group)
        assert row_group.num_columns == len(COLUMN_NAMES)
        for index, name in enumerate(COLUMN_NAMES):
            chunk = row_group.column(index)
            assert chunk.path_in_schema == name
            first = chunk.data_page_offset
            assert page_type(data, first) == DATA_PAGE
            if chunk.has_dictionary_page:
                first = chunk.dictionary_page_offset
                assert page_type(data, first) == DICTIONARY_PAGE
            # Column chunks follow each other and never run into what is between row groups.
            assert first >= end
            end = first + chunk.total_compressed_size
    assert end < len(data)


def test_moving_shifts_offsets_and_nothing_else() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(
        arrow_schema().empty_table(), sink, write_page_index=True, store_schema=False, compression="zstd"
    )
    data = sink.getvalue().to_pybytes()
    size = int.from_bytes(data[-8:-4], "little")
    (group,) = thrift.decode(data[-8 - size : -8])[0][4][1].items
    for chunk in group[1][1].items:
        # Older versions of pyarrow fill in what was deprecated since.
        chunk[2] = (thrift.I64, 0)
    before = thrift.encode(group)
    chunk = group[1][1].items[3]
    chunk[4], chunk[6], chunk[2] = (thrift.I64, 100), (thrift.I64, 200), (thrift.I64, 300)
    chunk[3][1][10], chunk[3][1][14] = (thrift.I64, 400), (thrift.I64, 500)
    data_page, start = chunk[3][1][9][1], group[5][1]
    footer.move(group, 10**10)
    assert (chunk[4][1], chunk[6][1], chunk[2][1]) == (10**10 + 100, 10**10 + 200, 10**10 + 300)
    assert (chunk[3][1][10][1], chunk[3][1][14][1]) == (10**10 + 400, 10**10 + 500)
    assert (chunk[3][1][9][1], group[5][1]) == (10**10 + data_page, 10**10 + start)
    # A file_offset of 0 means that it was left out.
    assert group[1][1].items[0][2][1] == 0
    footer.move(group, -(10**10))
    for number in (4, 6):
        del chunk[number]
    for number in (10, 14):
        del chunk[3][1][number]
    chunk[2] = (thrift.I64, 0)
    assert thrift.encode(group) == before


def test_ordinals_end_where_their_16_bits_do(make_rows: MakeRows) -> None:
    table = make_rows(10)
    for ordinal, stored in ((0, 0), (32767, 32767), (32768, None)):
        _, encoded = footer.encode_rows(table, 4, ordinal)
        assert thrift.decode(encoded)[0].get(7, (0, None))[1] == stored


def test_a_footer_beyond_4_gib_reads_in_pyarrow_and_duckdb(
    tmp_path: Path, make_rows: MakeRows, connection: DuckDBPyConnection
) -> None:
    """Offsets are 64 bits: a sparse file with its only row group at 5 GiB."""
    path = tmp_path / "far.parquet"
    table = make_rows(500)
    position = 5 << 30
    pages, group = footer.encode_rows(table, position, 0)
    with path.open("wb") as file:
        file.write(b"PAR1")
        file.seek(position)
        file.write(pages)
        file.write(footer.encode(footer.start_metadata("{}"), "{}", len(table), [group]))
    assert pq.read_table(path).to_pydict() == table.to_pydict()
    total = connection.read_parquet([str(path)]).aggregate("sum(bytes), count(*)").fetchall()
    assert total == [(sum(b or 0 for b in table["bytes"].to_pylist()), 500)]


def test_statistics_are_those_that_readers_use(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows
) -> None:
    path = tmp_path / "run.parquet"
    table = make_rows(1000)
    make_run(path, [table])
    group = pq.read_metadata(path).row_group(0)
    have = {n: group.column(i).is_stats_set for i, n in enumerate(COLUMN_NAMES)}
    pruned_by, null_counts = (
        {"ts_ns", "event", "order"},
        {"dur_ns", "count", "total_ns", "self_ns", "bytes", "pfn", "nid"},
    )
    assert {n for n, there in have.items() if there} == pruned_by | null_counts
    first, last = table["ts_ns"][0].as_py(), table["ts_ns"][-1].as_py()
    assert (group.column(0).statistics.min, group.column(0).statistics.max) == (first, last)
