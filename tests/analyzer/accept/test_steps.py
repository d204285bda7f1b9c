# SPDX-License-Identifier: Apache-2.0
"""The table ``steps``: the page sizes that the platform took and refused."""

from __future__ import annotations

from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.recorded import (
    MIB,
)


def test_refused_page_sizes_are_shown_beside_those_taken(tables: Tables) -> None:
    small, huge = tables("lazy")["steps"].rows
    assert (small["page_bytes"], small["accepted"], small["refused"]) == (4096, 1024, 0)
    assert (huge["page_bytes"], huge["accepted"], huge["refused_share"]) == (2 * MIB, 0, 1.0)
    assert "steps" not in tables("snp")
