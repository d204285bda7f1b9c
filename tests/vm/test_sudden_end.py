# SPDX-License-Identifier: Apache-2.0
"""A recorder killed in the guest, a guest whose power is cut: the run opens up to a checkpoint.

Boots: 2.
"""

from collections.abc import Callable
from typing import Any

import pytest

from memtrace.lab.spec import CutPower, Step
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

LOAD = "python3 -c 'while True: bytearray(1 << 20)' & load=$!"
RECORD = "memtrace record -q -f --stream all -o $RESULTS/run.parquet & recorder=$!"
WAIT = "until [ -s $RESULTS/run.parquet ]; do sleep .2; done; sleep 6"
Guest = Callable[..., Any]


@pytest.mark.parametrize("how", ["kill", "power"])
def test_what_was_recorded_until_then_opens(guest: Guest, how: str) -> None:
    end = "kill -9 $recorder; wait $recorder; kill $load; true" if how == "kill" else "lab-mark off; sleep 60"
    result = guest(
        "accept-6.12",
        f"{RECORD}\n{WAIT}\n{LOAD}\nsleep 4\n{end}\n",
        steps=(Step("off", CutPower()),),
        time_limit_s=600,
    )
    run = open_run(result.results / "run.parquet")
    assert run.cut_short
    assert not run.status.complete
    assert run.rows > 0
    counters = {c.event: c for c in run.status.counters}
    assert counters["alloc"].seen > 0
