# SPDX-License-Identifier: Apache-2.0
"""The report as JSON: ``{"schema", "run", "tables": {NAME: [{column: value}]}, "caveats"}``.

Units are in the column names; unknown is null.  ``schema`` numbers this
document's shape; columns may be added without a new number.
"""

from __future__ import annotations

from memtrace import safe
from memtrace.analyzer.tables import Report

SCHEMA = 1


def render(report: Report) -> str:
    """The report as indented JSON, ended by a newline."""
    document = {
        "schema": SCHEMA,
        "view": report.view,
        "run": dict(report.run),
        "tables": {t.name: [{name: row[name] for name in t.names} for row in t.rows] for t in report.tables},
        "caveats": [{"id": c.id, "text": c.text} for c in report.caveats],
    }
    return safe.json_text(document, indent=2) + "\n"
