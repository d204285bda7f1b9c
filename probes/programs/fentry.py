# SPDX-License-Identifier: Apache-2.0
"""Find out whether this kernel loads fentry programs at all, by loading the smallest one.

Compiling a topic's fentry programs takes most of the time before recording starts.  Where
policy refuses all of them, the refusal of one of two instructions shows it in 20 ms.
"""

from __future__ import annotations

import ctypes
import errno
import os

from memtrace.probes.programs.refusal import RefusedError, tried
from memtrace.traces.run import Refusal

_TRACING = 26
"""BPF_PROG_TYPE_TRACING, include/uapi/linux/bpf.h."""
_RETURN_0 = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))


def why_no_fentry(function: str) -> Refusal | None:
    """Try a fentry program at ``function``; return the refusal if policy allows none, else None.

    A failure for another reason also gives None: only a refusal by policy holds for all functions.
    """
    try:
        fd = tried(lambda: _load(function))
    except RefusedError as error:
        if error.reason == "refused by policy":
            return Refusal("fentry", error.reason, error.detail)
        return None
    os.close(fd)
    return None


def _load(function: str) -> int:
    from bcc.libbcc import lib

    load = lib.bcc_prog_load
    text, number = ctypes.c_char_p, ctypes.c_int
    load.argtypes = [number, text, text, number, text, ctypes.c_uint, number, text, ctypes.c_uint]
    name = b"kfunc__" + function.encode()
    fd: int = load(_TRACING, name, _RETURN_0, len(_RETURN_0), b"GPL", 0, 0, None, 0)
    if fd < 0:
        code = ctypes.get_errno() or errno.EINVAL
        raise OSError(code, os.strerror(code))
    return fd
