# SPDX-License-Identifier: Apache-2.0
"""What is at a path that the user gave: an answer, where pathlib may raise.

A path that may not be looked at (PermissionError), is too long or holds a NUL is
nothing here; what is wrong with it is said by whoever opens it.
"""

from __future__ import annotations

from pathlib import Path


def is_folder(path: str | Path) -> bool:
    """Whether it is a folder."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def is_there(path: str | Path) -> bool:
    """Whether there is anything."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
