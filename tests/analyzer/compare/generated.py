# SPDX-License-Identifier: Apache-2.0
"""Runs with a known truth: heavy-tailed within, shifted from boot to boot, and a change in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from memtrace.tests.analyzer.recorded import START, counters, header, status
from memtrace.traces.run import ClockAnchor, RunHeader, RunStatus
from memtrace.traces.schema import COLUMN_NAMES, arrow_schema
from memtrace.traces.writer import RunWriter

Floats = npt.NDArray[np.float64]
NOISE = 0.04
"""Between boots, of the logarithm."""
HOUR = 3_600 * 10**9


def durations(rng: np.random.Generator, boots: int, events: int, noise: float = NOISE) -> Floats:
    """Durations in ns, shape (boots, events): lognormal with a tail of 1 in 50 twenty times as long,
    all of a boot shifted by its own factor."""
    body = rng.lognormal(np.log(600), 0.6, (boots, events))
    tail = np.where(rng.random((boots, events)) < 0.02, 20.0, 1.0)
    return body * tail * np.exp(rng.normal(0, noise, (boots, 1)))


def rows_of(took: Iterable[float], event: str = "alloc", **columns: Any) -> list[dict[str, Any]]:
    """A streamed row for each duration, half on either node."""
    site = f"fentry:{event}"
    return [
        {
            "ts_ns": START + 1000 * i, "dur_ns": int(d), "count": 1, "total_ns": int(d), "self_ns": int(d),
            "event": event, "site": site, "order": 0, "bytes": 4096, "pfn": i, "nid": i % 2, "flags": 0,
        }
        | columns
        for i, d in enumerate(took)
    ]  # fmt: skip


Edit = Callable[[RunHeader, RunStatus], tuple[RunHeader, RunStatus]]


def write_run(
    path: Path,
    rows: list[dict[str, Any]],
    boot: int,
    *,
    cut_short: bool = False,
    edit: Edit | None = None,
    **fields: Any,
) -> Path:
    """A run file of a boot of its own (``boot`` hours into the day)."""
    events = fields.pop("events", None) or sorted({row["event"] for row in rows}) or ["alloc"]
    anchor = ClockAnchor(START, START, boot * HOUR + START, 100)
    made = dataclasses.replace(header(*events), anchors=(anchor,), **fields)
    ended = status(counters=counters(rows, *events))
    if edit is not None:
        made, ended = edit(made, ended)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([{n: row.get(n) for n in COLUMN_NAMES} for row in rows], arrow_schema())
    with RunWriter(path, made) as writer:
        writer.write(table)
        if cut_short:
            writer.checkpoint(dataclasses.replace(ended, complete=False))
        else:
            writer.close(ended)
    return path


def write_side(
    folder: Path,
    boots: int,
    *,
    factor: float = 1.0,
    events: int = 400,
    noise: float = NOISE,
    seed: int = 0,
    first: int = 0,
    **fields: Any,
) -> Path:
    """A folder of runs whose durations are ``factor`` times as long."""
    took = durations(np.random.default_rng(seed), boots, events, noise) * factor
    for i in range(boots):
        write_run(folder / f"boot-{i:03d}.parquet", rows_of(took[i]), first + i, **fields)
    return folder
