# SPDX-License-Identifier: Apache-2.0
"""Parts of a table, to be held against what they should be."""

from __future__ import annotations

from typing import Any

from memtrace.analyzer.tables import Table


def column(table: Table, name: str) -> list[Any]:
    return [row[name] for row in table.rows]


def row_of(table: Table, **keys: Any) -> dict[str, Any]:
    (row,) = [row for row in table.rows if all(row[k] == v for k, v in keys.items())]
    return dict(row)
