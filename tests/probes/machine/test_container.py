# SPDX-License-Identifier: Apache-2.0
"""What a container puts in the way is read off /proc."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from memtrace.probes.machine.container import container_facts, kcore, run_command, seccomp
from memtrace.probes.machine.pidns import pid_namespace, proc_is_ours

Tree = Callable[[Mapping[str, str]], Path]


@pytest.mark.parametrize(
    ("line", "value"),
    [("Seccomp:\t0", "no"), ("Seccomp:\t1", "strict"), ("Seccomp:\t2", "filter"), ("Name:\tx", "unknown")],
)
def test_seccomp(tree: Tree, line: str, value: str) -> None:
    assert seccomp(tree({"/proc/self/status": f"Uid:\t0\n{line}\nSeccomp_filters:\t1\n"})).value == value


def test_kcore_is_there_or_not_or_has_a_device_over_it(tree: Tree) -> None:
    root = tree({"/proc/": ""})
    assert kcore(root).value == "no"
    (root / "proc/kcore").symlink_to("/dev/null")
    assert kcore(root).value == "hidden"
    assert "systempaths=unconfined" in run_command((kcore(root),))
    (root / "proc/kcore").unlink()
    (root / "proc/kcore").write_bytes(b"")
    assert kcore(root).value == "yes"
    assert "systempaths" not in run_command(container_facts(root))


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("pid:[4026531836]", "initial"),
        ("pid:[4026532274]", "own"),
        ("something else", "own"),
        (None, "unknown"),
    ],
)
def test_the_pid_namespace(tree: Tree, target: str | None, value: str) -> None:
    root = tree({"/proc/self/ns/": ""})
    if target is not None:
        (root / "proc/self/ns/pid").symlink_to(target)
    assert pid_namespace(root).value == value


def test_a_kernel_without_pid_namespaces_has_the_initial_one(tree: Tree) -> None:
    assert pid_namespace(tree({"/proc/self/ns/mnt": ""})).value == "initial"


def test_proc_is_that_of_this_process() -> None:
    assert proc_is_ours()
