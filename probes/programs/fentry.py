# SPDX-License-Identifier: Apache-2.0
"""Find out whether this kernel loads fentry programs at all, by loading the smallest one.

Where policy refuses all of them, the refusal of one of two instructions shows it, and no program
of a topic is obtained for nothing: one that is not kept takes the compiler a second.
"""

from __future__ import annotations

import os

from memtrace.probes.programs import libbpf
from memtrace.probes.programs.module import FENTRY, TRACING
from memtrace.probes.programs.refusal import RefusedError, tried
from memtrace.traces.run import Refusal

_RETURN_0 = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))


def why_no_fentry(function: str) -> Refusal | None:
    """Try a fentry program at ``function``; return the refusal if policy allows none, else None.

    A failure for another reason also gives None: only a refusal by policy holds for all functions.
    """
    try:
        fd = tried(
            lambda: libbpf.load_program(
                TRACING, "mt_try", _RETURN_0, attach_type=FENTRY, target=libbpf.function_id(function)
            )
        )
    except RefusedError as error:
        if error.reason == "refused by policy":
            return Refusal("fentry", error.reason, error.detail)
        return None
    os.close(fd)
    return None
