# SPDX-License-Identifier: Apache-2.0
"""Arithmetic in which what is unknown (None) makes the result unknown."""

from __future__ import annotations


def plus(a: int | None, b: int | None) -> int | None:
    """a + b, None where either is unknown."""
    return None if a is None or b is None else a + b


def less(a: int | None, b: int | None) -> int | None:
    """a - b, None where either is unknown."""
    return None if a is None or b is None else a - b
