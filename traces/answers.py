# SPDX-License-Identifier: Apache-2.0
"""Answers written to where the user says: pages, tables and figures."""

from __future__ import annotations

import os
from pathlib import Path

from memtrace.traces.astray import check
from memtrace.traces.output import create, write_all
from memtrace.traces.refusals import cannot_write
from memtrace.traces.sinks import sink


def write(path: Path, data: bytes, option: str = "-o") -> None:
    """Writes an answer as a whole: over an earlier file, or to a device, a pipe or a descriptor.

    Raises MemtraceError, after which an earlier file is as it was.
    """
    try:
        fd = sink(path, option)
        if fd is not None:
            with os.fdopen(fd, "wb", buffering=0) as stream:
                write_all(stream.fileno(), data)
            return
        with create(path, overwrite=True, option=option) as file:
            write_all(file.fd, data)
            file.publish()
            check(file)
    except OSError as error:
        raise cannot_write(path, error, option) from error
