# SPDX-License-Identifier: Apache-2.0
"""Inputs made from good ones: what a stranger's file may hold, drawn from a seeded generator."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memtrace.tests import hostile
from memtrace.traces.schema import KEY_HEADER, KEY_PARTIALS, KEY_STATUS

NUMBERS = (
    0,
    -1,
    1,
    127,
    128,
    255,
    1 << 15,
    1 << 31,
    (1 << 31) - 1,
    1 << 63,
    (1 << 63) - 1,
    -(1 << 63),
    1 << 64,
)
ODD: tuple[Any, ...] = (*NUMBERS, 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf"), True, False, None)
EMPTY: tuple[Any, ...] = ([], {}, "", [[]], {"": None}, [None] * 3, [0] * 5000)
DIGITS = (
    "9" * 40,
    "-1",
    "0x",
    "1e9",
    "1000000000",
    "18446744073709551615",
    "",
    "0xffffffffffffffffff",
    "9" * 5000,
)


def some_value(rng: random.Random) -> Any:
    """A value of any type, most often of one that does not belong there."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(hostile.ALL)
    if kind == 1:
        nested: Any = rng.choice(ODD)
        for _ in range(rng.choice((1, 3, 50))):
            nested = [nested] if rng.random() < 0.5 else {"nid": nested}
        return nested
    return copy.deepcopy(rng.choice(ODD if kind == 2 else EMPTY))


def document(text: str, rng: random.Random) -> str:
    """A JSON document with one to three of its places changed."""
    found = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(found))
        holder, key = rng.choice(places)
        action = rng.randrange(4)
        if action == 0 and isinstance(holder, dict):
            del holder[key]
        elif action == 1 and isinstance(holder, list):
            holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        else:
            holder[key] = some_value(rng)
    return json.dumps(found)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)


def run(good: Path, made: Path, rng: random.Random) -> None:
    """A run file with its header or status, a column or some bytes changed."""
    kind = rng.randrange(4)
    # One that was cut short has no footer, and nothing that could be taken apart here.
    if kind == 0 or not good.read_bytes().endswith(b"PAR1"):
        made.write_bytes(flipped(good.read_bytes(), rng))
        return
    import pyarrow.parquet as pq

    table = pq.read_table(good)
    about = {k: v for k, v in pq.read_metadata(good).metadata.items() if k != b"ARROW:schema"}
    if kind == 3 and len(table):
        table = _column(table, rng)
    else:
        key = rng.choice(
            [key for key in (KEY_HEADER, KEY_STATUS, KEY_PARTIALS) if key.encode() in about]
        ).encode()
        about[key] = document(about[key].decode(), rng).encode()
    pq.write_table(table.replace_schema_metadata(about), made)


def _column(table: Any, rng: random.Random) -> Any:
    import pyarrow as pa

    place = rng.randrange(table.num_columns)
    field, size = table.schema.field(place), len(table)
    action = rng.randrange(4)
    if action == 0:
        return table.remove_column(place)
    if action == 1:
        return table.set_column(place, field.name, pa.nulls(size, field.type))
    if action == 2:
        return table.set_column(place, field.name, pa.array(rng.choices(hostile.IN_UTF8, k=size)))
    numbers = [n for n in NUMBERS if -(1 << 63) <= n < 1 << 63]
    return table.set_column(place, field.name, pa.array(rng.choices(numbers, k=size), pa.int64()))


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut out or repeated; most often near the end, where a parquet file has its footer."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        near = max(len(changed) - 4096, 0) if rng.random() < 0.7 else 0
        changed[rng.randrange(near, len(changed))] = rng.randrange(256)
    if rng.random() < 0.2:
        cut = rng.randrange(len(changed))
        changed = changed[:cut] if rng.random() < 0.5 else changed[:cut] + changed[cut // 2 :]
    return bytes(changed)


def trace(good: bytes, made: Path, rng: random.Random) -> None:
    """A few lines of a trace or log, some of them changed; now and then gzipped, perhaps damaged."""
    lines = good.decode(errors="replace").splitlines()
    begin = rng.randrange(max(len(lines) - 150, 1))
    lines = lines[:8] + lines[begin : begin + 150]
    for _ in range(rng.randint(1, 20)):
        place = rng.randrange(len(lines))
        lines[place] = _line(lines[place], rng)
    data = "\n".join(lines).encode(errors="replace")
    if rng.random() < 0.1:
        data = gzip.compress(data, mtime=0)
    made.write_bytes(flipped(data, rng) if rng.random() < 0.1 else data)


def _line(line: str, rng: random.Random) -> str:
    words = line.split(" ")
    place = rng.randrange(len(words))
    action = rng.randrange(5)
    if action == 0:
        return line[: rng.randrange(len(line) + 1)]
    if action == 1:
        # At most one of the lines becomes very long: each may be drawn several times.
        return line * (2 if len(line) > 10_000 else rng.choice((2, 300)))
    if action == 2:
        words[place] = rng.choice(hostile.ALL).replace("\n", "")
    elif action == 3:
        words.insert(place, rng.choice(words))
    else:
        digits = [i for i, word in enumerate(words) if any(sign.isdigit() for sign in word)]
        if digits:
            chosen = rng.choice(digits)
            words[chosen] = _renumbered(words[chosen], rng)
    return " ".join(words)


def _renumbered(word: str, rng: random.Random) -> str:
    begins = [i for i, sign in enumerate(word) if sign.isdigit() and not word[i - 1 : i].isdigit()]
    begin = rng.choice(begins)
    end = begin
    while end < len(word) and word[end].isdigit():
        end += 1
    return word[:begin] + rng.choice(DIGITS) + word[end:]
