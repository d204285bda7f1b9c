# SPDX-License-Identifier: Apache-2.0
"""What memory was wanted for, by the root around it and its gfp flags."""

from __future__ import annotations

from typing import Any

import pytest

from memtrace.analyzer.zero.kinds import kind_of
from memtrace.tests.analyzer.recorded import total


@pytest.mark.parametrize(
    ("kind", "event", "fields"),
    [
        ("anonymous", "zero.alloc", {"asked": True, "movable": True}),
        ("anonymous", "zero.alloc", {"asked": True, "root": "root.pin"}),
        ("anonymous, huge", "zero.alloc", {"asked": False, "order": 9, "within": "root.thp_fault"}),
        ("anonymous, huge", "zero.alloc", {"asked": False, "order": 4}),
        ("anonymous, huge", "zero.user", {"order": 9, "within": "root.thp_fault"}),
        ("copied or read", "zero.alloc", {"asked": False, "within": "root.cow"}),
        ("hugetlb", "zero.user", {"order": 9, "within": "root.hugetlb_fault"}),
        ("hugetlb", "zero.alloc", {"order": 9, "within": "root.hugetlb_pool", "root": "root.hugetlb_pool"}),
        ("unknown", "zero.alloc", {"asked": None}),
        ("unknown", "alloc", {"asked": None, "order": 4}),
        ("anonymous, huge", "alloc", {"asked": None, "order": 9, "within": "root.thp_fault"}),
        ("page tables", "alloc", {"asked": True, "within": "root.page_table"}),
        ("other kernel", "alloc", {"asked": True, "within": None, "root": None}),
        ("freed", "zero.free", {"within": "root.fault"}),
    ],
)
def test_what_memory_was_for(kind: str, event: str, fields: dict[str, Any]) -> None:
    assert kind_of(total(event, 512, 1, **fields)) == kind
