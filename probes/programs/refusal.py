# SPDX-License-Identifier: Apache-2.0
"""Try what the kernel may refuse, and keep the reason in the words of the kernel and libbcc."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
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
    """Run ``action``; a failure becomes RefusedError with the kernel's and libbcc's words."""
    failure: Exception | None = None
    with _captured_stderr() as words:
        ctypes.set_errno(0)
        try:
            result = action()
        except Exception as error:  # libbcc raises bare Exception
            code = (error.errno or 0) if isinstance(error, OSError) else ctypes.get_errno()
            failure = error
    if failure is None:
        return result
    said = failure.words if isinstance(failure, VerifierError) else words.text
    detail = _last_words(said) or _plain(failure)
    if code in (errno.EPERM, errno.EACCES):
        raise RefusedError("refused by policy", f"{os.strerror(code)} ({detail})") from failure
    raise RefusedError("failed", detail) from failure


class _Words:
    text = ""


@contextlib.contextmanager
def _captured_stderr() -> Iterator[_Words]:
    """Capture what libbcc and the verifier write to stderr, instead of showing it."""
    words = _Words()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield words
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            words.text = sink.read().decode(errors="replace")


def _plain(failure: Exception) -> str:
    return failure.strerror or str(failure) if isinstance(failure, OSError) else str(failure)


def _last_words(text: str) -> str:
    """Return the line that says what is wrong; "" if there is none.

    The compiler says it first, the verifier and libbpf last.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if " error: " in line]
    if errors:
        return errors[0]
    telling = [line for line in lines if not line.startswith(("processed ", "bpf: Failed to load", "HINT:"))]
    return (telling or lines or [""])[-1]
