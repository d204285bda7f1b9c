# SPDX-License-Identifier: Apache-2.0
"""Starting processes so that none outlives the one who started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from memtrace.errors import MemtraceError
from memtrace.lab.needs import find, search_path

END_S = 10.0
_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def qemu_process(
    command: Sequence[str], pass_fds: Sequence[int], complaints: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU in a session of its own, killed on leaving, or by the kernel with its parent.

    command     QEMU's name and arguments
    pass_fds    file descriptors that it inherits
    complaints  the file that takes its stdout and stderr
    """
    qemu, setpriv = find(command[0]), find("setpriv")
    if qemu is None or setpriv is None:
        raise MemtraceError(f"no {command[0] if qemu is None else 'setpriv'} here")
    process = None
    try:
        with open(complaints, "wb") as said, signals_held():
            process = subprocess.Popen(
                [setpriv, "--pdeathsig", "KILL", qemu, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, "PATH": search_path()},
                pass_fds=pass_fds,
                start_new_session=True,
            )
        yield process
    finally:
        if process is not None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """What Python handlers do of SIGINT, SIGTERM and SIGHUP waits until the end.

    For the moment between a fork and the assignment that makes the child known.  Signals
    that are ignored, or end the program at once, do so as before.  Handlers rather than
    a mask, which the child would inherit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGINT)}
    held = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for first in came:
            signal.raise_signal(first)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into an exception, so that what was begun is cleaned up.

    Only in the main thread, and only where the program has no handler of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    mine = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)
