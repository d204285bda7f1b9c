# SPDX-License-Identifier: Apache-2.0
"""Which rows of acceptance saw the same one, and what held it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.model.plain import put
from memtrace.analyzer.nesting import Nesting, nest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from memtrace.analyzer.model.staged import Model

    Ints = npt.NDArray[np.int64]

VICTIM, BURST = 0, 1
"""Levels of accept_rows."""
NONE = -1
_ROWS = """
SELECT id, level, begin_ns, end_ns, dense_rank() OVER (ORDER BY thread) AS thread
FROM accept_rows ORDER BY level DESC, id
"""


def accept_nesting(model: Model) -> None:
    """``accept_nesting``: of each of accept_rows the rows that say what it was part of, by id.

    ``head``: the outermost row that saw the same acceptance: the block, else the call, else
    the platform's accept.  A burst is its own.
    ``held``: the outermost row of acceptance around it, itself if there is none.
    ``victim``: the row of what waited, around it; -1 where none was seen.
    """
    import numpy as np

    model.need("accept_rows")
    # Of equal intervals the later one is the container: inner levels first.
    rows = model.arrow(_ROWS)
    ids, level, begin, end, thread = (rows[i].to_numpy().astype("int64") for i in range(5))
    columns: dict[str, tuple[Any, str]] = {"id": (ids, "int64")}
    for name, place in _owners(nest(begin, end, thread), level).items():
        columns[name] = (np.where(place == NONE, NONE, ids[place]) if len(ids) else ids, "int64")
    put(model.connection, "accept_nesting", columns)


def _owners(nested: Nesting, level: Ints) -> dict[str, Ints]:
    """Positions of head, held and victim (-1 for none), from the outermost rows inwards."""
    import numpy as np

    itself = np.arange(len(level))
    head, held, victim = itself.copy(), itself.copy(), np.full(len(level), NONE)
    victim[level == VICTIM] = itself[level == VICTIM]
    for inner in nested.levels[1:]:
        inner = inner[level[inner] != VICTIM]
        outer = nested.parent[inner]
        victim[inner] = victim[outer]
        accepting = level[outer] != VICTIM
        held[inner[accepting]] = held[outer[accepting]]
        # A row of the same level inside (an interrupt's) is another acceptance.
        same = accepting & (level[outer] > BURST) & (level[outer] < level[inner])
        head[inner[same]] = head[outer[same]]
    return {"head": head, "held": held, "victim": victim}
