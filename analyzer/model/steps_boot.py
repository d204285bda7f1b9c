# SPDX-License-Identifier: Apache-2.0
"""What a run's header says of the boot, as plain tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.model.plain import put
from memtrace.traces.phases import PHASES

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


def told_phases(model: Model) -> None:
    """``told_phases``: what each source of the run told of each phase, as the header has it.

    ``place``: the phase's place in the order of the boot; unknown words come last.
    """
    told, words = model.run.header.phases, list(PHASES)
    put(
        model.connection,
        "told_phases",
        {
            "number": (range(len(told)), "int32"),
            "phase": ([one.name for one in told], "string"),
            "place": (
                [words.index(one.name) if one.name in words else len(words) for one in told],
                "int32",
            ),
            "nid": ([one.nid for one in told], "int32"),
            "start_ns": ([one.start_ns for one in told], "int64"),
            "end_ns": ([one.end_ns for one in told], "int64"),
            "source": ([one.source for one in told], "string"),
            "resolution_ns": ([one.resolution_ns for one in told], "int64"),
            "detail": ([one.detail for one in told], "string"),
        },
    )
