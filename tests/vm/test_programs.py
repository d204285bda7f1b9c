# SPDX-License-Identifier: Apache-2.0
"""Programs that one boot compiled serve the next one, whose kernel lies elsewhere and which has no BCC.

Boots: 2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memtrace.lab.guest import run_guest
from memtrace.lab.spec import GuestResult, GuestSpec
from memtrace.tests.vm.conftest import LIMIT_S
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm
RECORD = """
grep ' _text$' /proc/kallsyms > $RESULTS/where
memtrace record -q -e alloc,zero --stream all -o $RESULTS/run.parquet -- true
memtrace selftest --pages 512 --huge 4 --json > $RESULTS/selftest.json
"""
HIDE_BCC = """
mkdir /tmp/none
mount --bind /tmp/none /usr/lib/python3/dist-packages/bcc
for library in /usr/lib/x86_64-linux-gnu/libbcc.so.0 /usr/lib/x86_64-linux-gnu/libLLVM*; do
	mount --bind /dev/null $library
done
python3 -c 'from bcc import BPF' 2> $RESULTS/missing && exit 1
"""


def boot(script: str, append: str, folder: Path) -> GuestResult:
    return run_guest(GuestSpec("debian-6.12", script, append=append, time_limit_s=LIMIT_S), folder)


def checks(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "selftest.json").read_text())["tables"]["checks"]
    return found


def kept(folder: Path) -> bool | None:
    with open_run(folder / "run.parquet") as run:
        assert run.status.cost is not None
        return run.status.cost.programs_kept


def test_what_one_boot_compiled_the_next_one_loads_without_bcc(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    result = boot(RECORD, "nokaslr", first)
    assert result.status == 0, result.output
    result = boot(HIDE_BCC + RECORD, "", second)
    assert result.status == 0, result.output
    assert "bcc" in (second / "missing").read_text()
    assert kept(second) is True
    passed = [check["name"] for check in checks(second) if check["passed"]]
    assert passed and passed == [check["name"] for check in checks(first) if check["passed"]]
    assert not [check for check in checks(second) if check["passed"] is False]
