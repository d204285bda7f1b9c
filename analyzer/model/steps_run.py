# SPDX-License-Identifier: Apache-2.0
"""What the header and the status say of the whole run, as plain tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.model.plain import put

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


def facts(model: Model) -> None:
    """``run``: one row of what the header and the status say of the whole run."""
    run = model.run
    put(
        model.connection,
        "run",
        {
            "page_size": ([run.header.page_size], "int64"),
            "started_ns": ([run.status.started_ns], "int64"),
            "ended_ns": ([run.status.ended_ns], "int64"),
        },
    )
