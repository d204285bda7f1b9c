# SPDX-License-Identifier: Apache-2.0
"""The recorder's own memory: nothing is imported any more once it records."""

import subprocess
import sys

import pytest

CODE = """
import sys
from memtrace.probes.recorder.memory import settle
settle({many_texts})
import numpy as np
import pyarrow as pa
before = set(sys.modules)
pa.array(np.arange(3), mask=np.arange(3) == 1)
pa.table(dict(comm=pa.array(["sh"])))
pa.Table.from_pylist([dict(count=1)])
print(sorted(set(sys.modules) - before), "pandas" in sys.modules, "pyarrow.compute" in sys.modules)
"""


@pytest.mark.parametrize("many_texts", [False, True])
def test_a_settled_recorder_converts_without_importing(many_texts: bool) -> None:
    code = CODE.format(many_texts=many_texts)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"[] False {many_texts}\n"
