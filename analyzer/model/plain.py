# SPDX-License-Identifier: Apache-2.0
"""Plain columns as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb


def put(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: Mapping[str, tuple[Any, str]],
) -> None:
    """Make a table of columns, each values and their Arrow type."""
    import pyarrow as pa

    arrays = {key: pa.array(values, type_) for key, (values, type_) in columns.items()}
    connection.register(f"{name}_", pa.table(arrays))
    connection.table(f"{name}_").create(name)
    connection.unregister(f"{name}_")
