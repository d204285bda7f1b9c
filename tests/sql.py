# SPDX-License-Identifier: Apache-2.0
"""What SQL finds in the files that a test names."""

from __future__ import annotations

from typing import Any

import duckdb


def fetched(question: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    found = duckdb.sql(question)
    assert found is not None, f"not a query: {question}"
    return found.fetchall()
