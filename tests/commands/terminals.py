# SPDX-License-Identifier: Apache-2.0
"""Terminals that a test looks at from outside."""

from __future__ import annotations

import os


def environment(**changes: str) -> dict[str, str]:
    """Ours, but for what it says of our own terminal, with these changes."""
    return {key: value for key, value in os.environ.items() if key not in ("TERM", "NO_COLOR")} | changes


def sent_to(terminal: int) -> bytes:
    """All that a terminal is sent until nobody has its other end open; closes this one."""
    sent = b""
    try:
        while part := os.read(terminal, 4096):
            sent += part
    except OSError:
        pass
    os.close(terminal)
    return sent
