# SPDX-License-Identifier: Apache-2.0
"""Try what the kernel may refuse, and keep the reason in its own words."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from memtrace.probes.programs.libbpf import VerifierError

T = TypeVar("T")


class RefusedError(Exception):
    """The kernel refused a probe: ``reason`` is as in traces.run.Refusal, ``detail`` is in its words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def tried(action: Callable[[], T]) -> T:
    """Run ``action``; an OSError becomes RefusedError with the kernel's words."""
    try:
        return action()
    except OSError as error:
        words = _last_words(error.words) if isinstance(error, VerifierError) else ""
        detail = words or error.strerror or str(error)
        if error.errno in (errno.EPERM, errno.EACCES):
            raise RefusedError("refused by policy", f"{os.strerror(error.errno)} ({detail})") from error
        raise RefusedError("failed", detail) from error


def _last_words(log: str) -> str:
    """Return the line of a verifier's log that says what is wrong, one of its last; "" if there is none."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("processed ")]
    return (telling or lines or [""])[-1]
