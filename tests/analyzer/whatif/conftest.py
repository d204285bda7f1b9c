# SPDX-License-Identifier: Apache-2.0
"""What-ifs are of the runs that the views' own tests are of."""

from __future__ import annotations

from memtrace.tests.analyzer.accept.conftest import accept_run, report_of, spans_of, tables

__all__ = ["accept_run", "report_of", "spans_of", "tables"]
