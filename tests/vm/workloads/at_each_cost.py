# SPDX-License-Identifier: Apache-2.0
"""In a guest of the emulation: grow until there were so many accepts at each of some costs, being recorded.

``python3 -m memtrace.tests.vm.workloads.at_each_cost NAME NID ACCEPTS RIVALS RIVAL… -- COST…``

NAME: of the run below $RESULTS that the recorder writes meanwhile.  A cost is ns for 2 MiB.
What the boot and the start of the recorder left accepted is used up first, in huge pages
because that is quick.  Outside of the costs accepts cost nothing, so that whoever else needs
one has not waited longer than this program.  After each cost the recorder is given the time
to read the counters: until it has written twice.  At the end so many RIVALS, each on a CPU of
its own, execute the command RIVAL… while this program keeps what it has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from memtrace.tests.vm.workloads.until_accepted import Growth, logged

COST = Path("/sys/module/unaccepted_emul/parameters/ns_per_unit")


def wait_for_the_recorder(run: Path) -> None:
    """Until the file has become longer twice."""
    for _ in range(2):
        size = run.stat().st_size
        while run.stat().st_size == size:
            time.sleep(0.05)


def main(name: str, nid: int, accepts: int, rivals: int, rival: list[str], costs: list[str]) -> None:
    """Grow, and let the rivals grow."""
    Path("/proc/self/comm").write_text("grow")
    with Growth(nid) as memory:
        memory.until(logged() + 1, huge=True)
        for cost in costs:
            COST.write_text(cost)
            memory.until(logged() + accepts)
            COST.write_text("0")
            wait_for_the_recorder(Path(os.environ["RESULTS"], f"{name}.parquet"))
        each = [subprocess.Popen(("taskset", "-c", str(cpu), *rival)) for cpu in range(rivals)]
        if any(one.wait() for one in each):
            sys.exit("a rival failed")


if __name__ == "__main__":
    end = sys.argv.index("--")
    nid, accepts, rivals = map(int, sys.argv[2:5])
    main(sys.argv[1], nid, accepts, rivals, sys.argv[5:end], sys.argv[end + 1 :])
