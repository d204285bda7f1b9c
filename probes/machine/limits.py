# SPDX-License-Identifier: Apache-2.0
"""The limit on open files: each ring takes three, each probe one or two."""

from __future__ import annotations

import resource

OpenFiles = tuple[int, int]
"""The soft and the hard limit."""


def raise_open_files() -> OpenFiles:
    """Raise this process's soft limit on open files to the hard one, and return what they were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


def set_open_files(limits: OpenFiles) -> None:
    """Set what raise_open_files() returned; raises OSError."""
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
