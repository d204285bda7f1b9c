# SPDX-License-Identifier: Apache-2.0
"""One table as CSV (RFC 4180, but with plain newlines): all its columns, unknown left empty.

Texts are escaped as on a page, and none is a formula to a spreadsheet: ``safe.csv_cell``.
"""

from __future__ import annotations

import csv
import io

from memtrace import safe
from memtrace.analyzer.tables import Report


def render(report: Report) -> str:
    """The report's main table; a report cut down to one table: that one."""
    table = report.table(report.main) or report.tables[0]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(safe.csv_cell, table.names))
    writer.writerows([safe.csv_cell(row[name]) for name in table.names] for row in table.rows)
    return out.getvalue()
