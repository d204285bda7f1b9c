# SPDX-License-Identifier: Apache-2.0
"""What the lab is doing and how far it is, told through the logger `memtrace.lab`.

A step logs a line when it begins and one when it ends.  In between a thread logs every
second how far it is; such a record has the attribute `ongoing`, and who shows it (a
terminal's status line) may drop it.  Where nobody listens nothing is measured.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LOG = logging.getLogger("memtrace.lab")
TICK_S = 1.0

HowFar = Callable[[], str]


@contextlib.contextmanager
def step(what: str, how_far: HowFar = str, ends: bool = True) -> Iterator[None]:
    """Tell of the block that it has begun, how far it is, and (if `ends`) that it is done.

    how_far  called in another thread, for a few words ("3 of 95 MB"); its OSError is passed over
    """
    if not LOG.isEnabledFor(logging.INFO):
        yield
        return
    begun = time.monotonic()
    over = threading.Event()
    ticker = threading.Thread(target=_tick, args=(what, how_far, begun, over), daemon=True)
    LOG.info("%s", what)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
    if ends:
        LOG.info("%s: done in %s", what, seconds(time.monotonic() - begun))


@contextlib.contextmanager
def download(name: str, folder: Path, size: int | None) -> Iterator[None]:
    """A step that downloads a file of `size` bytes (None: unknown) into the folder."""
    before = _bytes_in(folder)
    whole = "" if size is None else f" of {megabytes(size)}"
    what = f"downloading {name}" + ("" if size is None else f", {megabytes(size)} MB")
    with step(what, lambda: f"{megabytes(_bytes_in(folder) - before)}{whole} MB"):
        yield


def files_like(pattern: str, folder: Path, what: str) -> HowFar:
    """How many files below the folder match by now: "1234 objects"."""
    return lambda: f"{sum(1 for _ in folder.rglob(pattern))} {what}"


def megabytes(size: int) -> str:
    """In units of 1000000 bytes, as apt counts."""
    return f"{max(size, 0) / 1e6:.1f}"


def seconds(length: float) -> str:
    """ "7 s" or "2:05 min"."""
    minutes, rest = divmod(round(length), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def _tick(what: str, how_far: HowFar, begun: float, over: threading.Event) -> None:
    while not over.wait(TICK_S):
        far = ""
        with contextlib.suppress(OSError):
            far = how_far()
        now = ", ".join(filter(None, (seconds(time.monotonic() - begun), far)))
        LOG.info("%s: %s", what, now, extra={"ongoing": True})


def _bytes_in(folder: Path) -> int:
    """Bytes of the files directly in the folder and in apt's own one for unfinished ones."""
    found = 0
    for path in (*folder.glob("*"), *folder.glob("partial/*")):
        with contextlib.suppress(OSError):
            status = path.lstat()
            found += status.st_size if path.is_file() else 0
    return found
