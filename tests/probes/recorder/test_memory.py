# SPDX-License-Identifier: Apache-2.0
"""The recorder's own memory: nothing is imported any more once it records."""

import subprocess
import sys

CODE = """
import sys
from memtrace.probes.recorder.memory import settle
settle()
import numpy as np
import pyarrow as pa
before = set(sys.modules)
pa.array(np.arange(3), mask=np.arange(3) == 1)
pa.table({"comm": pa.array(["sh"])})
pa.Table.from_pylist([{"count": 1}])
print(sorted(set(sys.modules) - before), "pandas" in sys.modules)
"""


def test_a_settled_recorder_converts_without_importing() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"
