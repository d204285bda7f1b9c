# SPDX-License-Identifier: Apache-2.0
"""Programs that one boot compiled record in the next one, from a bundle, without memtrace and BCC.

The second kernel is elsewhere in memory: its bzImage chooses where (KASLR), which a vmlinux
that QEMU starts directly does not.  Boots: 2.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from memtrace.lab import guest
from memtrace.lab.boot import Parts
from memtrace.lab.guest import run_guest
from memtrace.lab.spec import GuestResult, GuestSpec
from memtrace.probes.programs.kept import unbundled
from memtrace.probes.programs.pyz import packed
from memtrace.tests.vm.conftest import LIMIT_S
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm
RECORD = """
grep ' _text$' /proc/kallsyms > $RESULTS/where
memtrace record -q -e alloc,zero --stream all -o $RESULTS/run.parquet -- true
memtrace selftest --pages 512 --huge 4 --json > $RESULTS/selftest.json
"""
EXPORT = "memtrace programs export -o $RESULTS/all.programs\n"
ALONE = """
mkdir /tmp/none
mount --bind /tmp/none /usr/lib/python3/dist-packages/bcc
for library in /usr/lib/x86_64-linux-gnu/libbcc.so.0 /usr/lib/x86_64-linux-gnu/libLLVM*; do
	mount --bind /dev/null $library
done
mount --bind /tmp/none /lab/src
unset MEMTRACE_PROGRAMS
export PYTHONPATH=/opt/memtrace
python3 -c 'from bcc import BPF' 2> $RESULTS/missing && exit 1
python3 -c 'import memtrace' 2>> $RESULTS/missing && exit 1
install -m 644 $FILES/memtrace.pyz /tmp/memtrace.pyz
memtrace() { python3 /tmp/memtrace.pyz "$@"; }
"""


def boot(script: str, folder: Path, **changes: Any) -> GuestResult:
    return run_guest(GuestSpec("debian-6.12", script, time_limit_s=LIMIT_S, **changes), folder)


def checks(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "selftest.json").read_text())["tables"]["checks"]
    return found


def passed_on_known_work(folder: Path) -> list[str]:
    """Names of the checks that passed, of the work that is known: which other events occur is chance."""
    return [check["name"] for check in checks(folder) if check["passed"] and " on node " in check["name"]]


def relocated(parts: Parts) -> Parts:
    """Return what a guest is booted from, with the kernel's bzImage."""
    (image,) = parts.kernel.boot_file.parent.glob("vmlinuz*")
    return dataclasses.replace(parts, kernel=dataclasses.replace(parts.kernel, boot_file=image))


def test_what_one_boot_compiled_the_next_one_loads_from_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, bundle = tmp_path / "first", tmp_path / "second", tmp_path / "memtrace.pyz"
    result = boot(RECORD + EXPORT, first)
    assert result.status == 0, result.output
    bundle.write_bytes(packed(unbundled(first / "all.programs")))
    prepare = guest.prepare
    monkeypatch.setattr(guest, "prepare", lambda name: relocated(prepare(name)))
    result = boot(ALONE + RECORD, second, files=(bundle,))
    assert result.status == 0, result.output
    assert (first / "where").read_text() != (second / "where").read_text()
    assert "No module named 'memtrace'" in (second / "missing").read_text()
    with open_run(second / "run.parquet") as run:
        assert run.status.cost is not None and run.status.cost.programs_kept is True
    assert passed_on_known_work(second) == passed_on_known_work(first) != []
    assert not [check for check in checks(second) if check["passed"] is False]
