# SPDX-License-Identifier: Apache-2.0
"""What a run file says has the types and ranges it must have, or the run is refused with a sentence."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memtrace.errors import MemtraceError
from memtrace.traces import gate, names, records
from memtrace.traces.columns import SUMMED
from memtrace.traces.reader import open_run
from memtrace.traces.run import (
    ClockAnchor,
    EventCounters,
    Fact,
    Losses,
    Node,
    Phase,
    ProbeSite,
    Refusal,
    RootTotal,
    RunHeader,
    RunStatus,
    Snapshot,
    TaskTotal,
    TracerCost,
    TraceSource,
    VirtualMachine,
    to_json,
)
from memtrace.traces.schema import COLUMN_NAMES, KEY_HEADER, KEY_STATUS, REQUIRED

Documents = dict[str, Any]

_SNAPSHOT = Snapshot("start", 10**12, {"nr_free_pages": 3}, {"0": {"MemFree": 7}}, 20)
_ANCHOR = ClockAnchor(1, 2, 3, 4)
HEADER = RunHeader(
    tool_version="0.1.0",
    command=("record", "-o", "run.parquet"),
    events=("alloc",),
    filters={"comm": "cc1"},
    tail_ns=1000,
    boot_id="b",
    config={"CONFIG_NUMA": "y"},
    facts=(Fact("sev", "no", "cpuid"),),
    cpus=4,
    nodes=(Node(0, (0, 1), ((0, 100), (200, 300)), 1 << 30), Node(1)),
    gfp_names={"__GFP_ZERO": 0x100},
    manifest=(ProbeSite("alloc", "rawtp:kmem:x", offsets=(1, 2), refused=(Refusal("a", "absent"),)),),
    anchors=(_ANCHOR,),
    snapshots=(_SNAPSHOT,),
    phases=(Phase("firmware", -5, 0, "fpdt", 1, 0, 0),),
    sources=(TraceSource("a.txt", "dmesg", 4, examples=("x",), offset_ns=-1),),
)
STATUS = RunStatus(
    complete=True,
    started_ns=10**12,
    ended_ns=2 * 10**12,
    losses=Losses(7),
    counters=(EventCounters("alloc", 5, 5, 0, 0, (1 << 64) - 1, 9),),
    tasks=(TaskTotal("alloc", 1, "cc1", 1, 4096, None),),
    roots=(RootTotal("alloc", None, None, 0, 0, False, True, None, None, 1, 4096, 10),),
    samples={"period_ns": 10},
    snapshots=(_SNAPSHOT,),
    anchors=(_ANCHOR,),
    cost=TracerCost(1, 2, 3),
    exit_status=-9,
    vms=(VirtualMachine(1, 100, "qemu", "snp", True, 5, -7),),
)
INSTEAD: list[Any] = [
    *(None, True, 0, -1, 1 << 63, -(1 << 63) - 1, 10**400, 3.0, 0.5),
    *("", "7", "x' OR 1; --", "\ud800", "\0"),
    *([], ["x"], [[0]], {}, {"a": []}),
]


@pytest.fixture
def write(tmp_path: Path, make_rows: Callable[..., pa.Table]) -> Callable[..., Path]:
    """A parquet file of these documents, as JSON or as text, and columns."""
    path = tmp_path / "run.parquet"
    plain = make_rows(50)

    def make(header: Any = None, status: Any = None, table: pa.Table | None = None, **how: Any) -> Path:
        texts = {
            KEY_HEADER: header
            if isinstance(header, str | bytes)
            else json.dumps(header or documents()["header"]),
            KEY_STATUS: status
            if isinstance(status, str | bytes)
            else json.dumps(status or documents()["status"]),
            "memtrace:schema": "2",
        }
        pq.write_table((plain if table is None else table).replace_schema_metadata(texts), path, **how)
        return path

    return make


def documents() -> Documents:
    """Header and status as JSON values of their own."""
    return {"header": json.loads(to_json(HEADER)), "status": json.loads(to_json(STATUS))}


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*where, key)
        yield from places(inner, (*where, key))


def put(document: Any, where: tuple[Any, ...], value: Any) -> None:
    for key in where[:-1]:
        document = document[key]
    document[where[-1]] = value


def refusal(path: Path) -> str:
    with pytest.raises(MemtraceError) as refused:
        open_run(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    return str(refused.value).replace(str(path), "FILE")


def scanned(path: Path, connection: Any) -> None:
    """Opens a run and reads each of its columns both ways."""
    with open_run(path) as run:
        run.relation(connection).fetchall()
        list(run.batches())


def test_documents_come_back_as_they_were() -> None:
    assert gate.document(RunHeader, to_json(HEADER)) == HEADER
    assert gate.document(RunStatus, to_json(STATUS)) == STATUS


@pytest.mark.parametrize("which", ["header", "status"])
def test_any_value_anywhere_gives_a_document_that_is_written_back_or_a_refusal(which: str) -> None:
    cls = RunHeader if which == "header" else RunStatus
    opened = refused = 0
    rng = random.Random(14)
    for where in places(documents()[which]):
        for value in rng.sample(INSTEAD, 3):
            document = documents()[which]
            put(document, where, value)
            try:
                built = gate.document(cls, json.dumps(document))
            except gate.Refused as error:
                assert "\n" not in str(error) and str(error).isascii()
                refused += 1
                continue
            opened += 1
            # What passed has the declared types: it is the same after another round.
            assert gate.document(cls, to_json(built)) == built
            to_json(built).encode()
            assert type(value) is not float
    assert refused > 2 * opened > 0


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("nodes", 0, "nid"), "0); COPY x", 'has "0); COPY x" for nodes[0].nid where a whole number belongs'),
        (("nodes", 1, "nid"), 1024, "has 1024 for nodes[1].nid, which is 0 to 1023"),
        (("nodes", 0, "nid"), True, "has true for nodes[0].nid where a whole number belongs"),
        (("nodes", 0, "nid"), None, "has null for nodes[0].nid where a whole number belongs"),
        (("nodes", 0, "pfn_ranges", 1), [1], "has 1 items in nodes[0].pfn_ranges[1] where 2 belong"),
        (("page_size",), 4097, "has 4097 for page_size, which is a power of two"),
        (("page_size",), 0, "has 0 for page_size, which is 4096 to 1073741824"),
        (("nodes",), {"a": 1}, "has an object for nodes where a list belongs"),
        (("nodes",), [{"nid": 0}] * 1025, "has 1,025 items in nodes, more than the 1,024 that are read"),
        (
            ("snapshots", 0, "vmstat", "nr_free_pages"),
            "x",
            'has "x" for snapshots[0].vmstat["nr_free_pages"]',
        ),
        (("hostname",), 5, "has 5 for hostname where a text belongs"),
        (("hostname",), "x" * (2 << 20), "has 2,097,152 characters in hostname"),
        (("stream_all",), 1, "has 1 for stream_all where true or false belongs"),
    ],
)
def test_a_refusal_names_file_field_and_what_belongs_there(
    write: Callable[..., Path], where: tuple[Any, ...], value: Any, said: str
) -> None:
    header = documents()["header"]
    put(header, where, value)
    message = refusal(write(header))
    assert message.startswith(f"FILE {said}") and message.endswith("ask for the run as it was recorded")


def test_a_field_that_must_be_there_is_missed_by_name(write: Callable[..., Path]) -> None:
    status = documents()["status"]
    del status["vms"][0]["number"]
    assert "has no vms[0].number" in refusal(write(status=status))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_no_number_for_is_refused(write: Callable[..., Path], word: str) -> None:
    text = to_json(HEADER).replace('"cpus":4', f'"cpus":{word},"newer":{word}')
    assert f"has {word} for a number" in refusal(write(text))


@pytest.mark.parametrize("text", ["[" * 200_000, '{"newer":' + "[" * 5000 + "]" * 5000 + "}"])
def test_deep_json_is_refused(write: Callable[..., Path], text: str) -> None:
    assert "nested too deeply" in refusal(write(text))


@pytest.mark.parametrize("filler", ["[],", "1,"])
def test_millions_of_values_are_refused_before_they_are_made(write: Callable[..., Path], filler: str) -> None:
    text = to_json(HEADER)[:-1] + ',"newer":[' + filler * 4_100_000 + "1]}"
    assert "millions of values" in refusal(write(text))


def test_text_that_is_not_utf8_in_a_document_is_a_sentence(write: Callable[..., Path]) -> None:
    refusal(write(to_json(HEADER).encode().replace(b"run.parquet", b"run\xff.parquet")))


def test_half_a_pair_in_a_document_is_spelled_out(write: Callable[..., Path]) -> None:
    header = documents()["header"] | {
        "hostname": "a\ud800",
        "command": ["x\udcff"],
        "filters": {"\udc80": "é"},
    }
    found = open_run(write(header)).header
    assert (found.hostname, found.command, found.filters) == ("a\\ud800", ("x\\xff",), {"\\x80": "é"})


def test_bytes_and_what_python_makes_of_them_are_spelled_alike() -> None:
    raw = b"\xff\xfebad \xc3\xa9"
    assert names.decoded(raw) == names.escaped(raw.decode("utf-8", "surrogateescape")) == "\\xff\\xfebad é"


# Records


def with_last_meta(path: Path, meta: bytes) -> None:
    """Appends a STATUS record with this meta to a run without a footer."""
    data = path.read_bytes()
    with path.open("rb") as file:
        found = list(records.scan(file.fileno()))
    body = data[: found[-1].end]
    path.write_bytes(body + b"".join(records.pack(records.Kind.STATUS, len(found), meta)))


def cut(path: Path, make_run: Callable[..., list[int]], make_rows: Callable[..., pa.Table]) -> None:
    ends = make_run(path, [make_rows(5)])
    path.write_bytes(path.read_bytes()[: ends[-1]])


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        (b'{"stopped_by":"\xff"}', "is damaged"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"complete":false,"started_ns":"1","ended_ns":2}', 'has "1" for started_ns'),
        (b"{}", "has no complete"),
    ],
)
def test_a_record_with_a_right_checksum_and_a_wrong_meta_is_a_sentence(
    tmp_path: Path, make_run: Any, make_rows: Any, meta: bytes, said: str
) -> None:
    path = tmp_path / "run.parquet"
    cut(path, make_run, make_rows)
    with_last_meta(path, meta)
    assert said in refusal(path)


def test_a_record_that_inflates_without_end_is_refused_in_bounded_memory(
    tmp_path: Path, make_run: Any, make_rows: Any
) -> None:
    path = tmp_path / "run.parquet"
    cut(path, make_run, make_rows)
    with_last_meta(path, bytes(1 << 30))
    assert path.stat().st_size < 10 << 20
    script = (
        "import sys, resource\n"
        "from memtrace.errors import MemtraceError\n"
        "from memtrace.traces.reader import open_run\n"
        "import pyarrow.parquet\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    open_run(sys.argv[1])\n"
        "except MemtraceError as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    said, grown = subprocess.check_output([sys.executable, "-c", script, str(path)], text=True).splitlines()
    assert str(path) in said and "inflates to more than 64 MiB" in said
    assert int(grown) < 300_000


# Columns


@pytest.mark.parametrize("name", COLUMN_NAMES)
@pytest.mark.parametrize("type_", ["list", "struct", "text", "number", "float", "binary"])
def test_a_column_of_another_type_is_refused(write: Any, make_rows: Any, name: str, type_: str) -> None:
    table = make_rows(5)
    values = {
        "list": pa.array([[1]] * 5),
        "struct": pa.array([{name: 1}] * 5),
        "text": pa.array(["x"] * 5),
        "number": pa.array(
            [1] * 5, pa.int16() if table.schema.field(name).type != pa.int16() else pa.int32()
        ),
        "float": pa.array([1.5] * 5),
        "binary": pa.array([b"\xff"] * 5),
    }
    changed = table.set_column(COLUMN_NAMES.index(name), name, values[type_])
    path = write(table=changed)
    if type_ == "text" and pa.types.is_dictionary(table.schema.field(name).type):
        assert open_run(path).rows == 5
    else:
        assert f"has a column {name} that is not" in refusal(path)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_run_without_a_column_it_must_have_is_refused(write: Any, make_rows: Any, name: str) -> None:
    assert f"has no column {name}" in refusal(write(table=make_rows(5).drop_columns([name])))


def test_a_column_in_other_case_is_refused(write: Any, make_rows: Any) -> None:
    table = make_rows(5)
    assert "that is not int64" in refusal(write(table=table.add_column(0, "TS_NS", pa.array(["x"] * 5))))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order", 53), ("order", -1), ("nid", 1024), ("nid", -1), ("count", -20), ("bytes", -1),
        ("total_ns", -1), ("pfn", -1), ("ts_ns", 1 << 62), ("dur_ns", -(1 << 62) - 1), ("vm", 0),
        ("gfn", 1 << 53), ("cpu", -1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("statistics", [True, False])
def test_numbers_out_of_range_are_refused_when_read(
    write: Any, make_rows: Any, connection: Any, name: str, value: int, statistics: bool
) -> None:
    table = make_rows(5)
    kind = table.schema.field(name).type
    column = pa.concat_arrays([table[name].combine_chunks()[:4], pa.array([value], kind)])
    path = write(table=table.set_column(COLUMN_NAMES.index(name), name, column), write_statistics=statistics)
    for read in (lambda run: run.relation(connection, [name]), lambda run: list(run.batches([name]))):
        with open_run(path) as run, pytest.raises(MemtraceError, match=f"{value} for {name}, which is"):
            read(run)
        with open_run(path) as run:
            run.relation(connection, ["event"] if name != "event" else ["flags"]).fetchall()


def test_text_without_bounds_is_refused_when_read(write: Any, make_rows: Any, connection: Any) -> None:
    path = write(table=make_rows(5, texts={"stack": ["x" * 70_000]}))
    with open_run(path) as run, pytest.raises(MemtraceError, match="70,000 bytes in stack"):
        run.relation(connection, ["stack"])
    with open_run(path) as run, pytest.raises(MemtraceError, match="70,000 bytes in stack"):
        list(run.batches(["stack"]))


def test_text_that_is_not_utf8_in_a_column_is_a_sentence(write: Any, make_rows: Any, connection: Any) -> None:
    path = write(table=make_rows(5, texts={"comm": ["cccc1"]}), compression="none")
    path.write_bytes(path.read_bytes().replace(b"cccc1", b"c\xff\xfec1"))
    # What a relation meets later is DuckDB's own; scan.connect() makes a sentence of it.
    with open_run(path) as run, pytest.raises((MemtraceError, duckdb.Error), match="UTF"):
        run.relation(connection, ["comm"]).fetchall()
    with open_run(path) as run, pytest.raises(MemtraceError):
        list(run.batches(["comm"]))


def test_mutated_files_open_or_give_a_sentence(write: Any, make_rows: Any, connection: Any) -> None:
    """Flipped, cut and doubled bytes, most of them in the footer, of files with and without checksums."""
    rng = random.Random(14)
    plain = make_rows(20)
    opened = refused = 0
    for number in range(100):
        path = write(table=plain, compression=["none", "zstd"][number % 2])
        data = bytearray(path.read_bytes())
        size = int.from_bytes(data[-8:-4], "little")
        start = len(data) - 8 - size if number % 3 else 4
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(start, len(data))
            how = rng.randrange(4)
            if how == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif how == 1:
                data[at] = rng.choice(b'\0\xff\x7f\x80"[{9')
            elif how == 2:
                data[at : at + 4] = rng.randbytes(4)
            else:
                data[at:at] = data[at : at + rng.randrange(8)]
        path.write_bytes(data)
        try:
            scanned(path, connection)
            opened += 1
        except MemtraceError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        except duckdb.Error:
            refused += 1
    assert opened and refused > 30


@pytest.mark.parametrize("name", REQUIRED)
def test_rows_without_what_each_has_are_refused(
    write: Any, make_rows: Any, connection: Any, name: str
) -> None:
    table = make_rows(100)
    values = [*table[name].to_pylist()[:99], None]
    type_ = pa.string() if name == "event" else table.schema.field(name).type
    path = write(table=table.set_column(COLUMN_NAMES.index(name), name, pa.array(values, type_)))
    for read in (lambda run: list(run.batches()), lambda run: run.relation(connection)):
        with open_run(path) as run, pytest.raises(MemtraceError, match=f"has 1 rows without {name}; mem"):
            read(run)


@pytest.mark.parametrize("name", SUMMED)
@pytest.mark.parametrize("statistics", [True, False])
def test_sums_beyond_64_bits_are_refused_when_read(
    write: Any, make_rows: Any, connection: Any, name: str, statistics: bool
) -> None:
    table, most = make_rows(8), (1 << 63) - 1

    def read(values: list[int]) -> None:
        changed = table.set_column(COLUMN_NAMES.index(name), name, pa.array(values, pa.int64()))
        with open_run(write(table=changed, write_statistics=statistics)) as run:
            run.relation(connection)

    read([most >> 3] * 8)
    read([most - 7, *[1] * 7])
    with pytest.raises(MemtraceError, match=f"{name} adds up to more than 64 bits hold"):
        read([most - 6, *[1] * 7])
