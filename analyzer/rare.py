# SPDX-License-Identifier: Apache-2.0
"""Which events have so few rows that a scan keeps each duration: their quantiles are exact."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def is_rare(events: Collection[str] | None) -> duckdb.Expression:
    """Whether a row's event is one of these; None: any."""
    import duckdb

    if events is None:
        return duckdb.ConstantExpression(True)
    return duckdb.ColumnExpression("event").isin(*map(duckdb.ConstantExpression, events))
