# SPDX-License-Identifier: Apache-2.0
"""The service unit: systemd takes it, and what it runs is a command line of memtrace."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from memtrace.commands.record import record

UNIT = Path(__file__).parents[1] / "docs" / "systemd" / "memtrace-hotplug.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_nothing_to_say() -> None:
    verify = ["systemd-analyze", "verify", str(UNIT)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_it_runs_is_a_command_line_of_memtrace() -> None:
    (line,) = re.findall(r"^ExecStart=/bin/sh -c '(.*)'$", UNIT.read_text(), re.M)
    words = shlex.split(line)
    assert words[:3] == ["exec", "memtrace", "record"]
    given = record.make_context("record", words[3:]).params
    assert (given["events"], given["output"].suffix) == ("hotplug", ".parquet")
