# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memtrace.errors import MemtraceError
from memtrace.probes.machine.privileges import (
    CAPABILITIES,
    Privileges,
    ambient_command,
    bcc_cure,
    missing,
    privileges,
    refusal,
    require_recording,
    sudo_command,
    tracefs_mount,
)
from memtrace.traces.run import Fact

NOBODY = Privileges(frozenset(), 1000, True, 1, 2, 2, True)


def holding(*names: str, **changes: Any) -> Privileges:
    return dataclasses.replace(NOBODY, effective=frozenset(names), **changes)


def lacking(held: Privileges) -> list[str]:
    return [need.name for need in missing(held)]


@pytest.mark.parametrize(
    ("held", "names"),
    [
        (NOBODY, ["bpf", "perfmon", "syslog", "tracefs", "kcore"]),
        (holding("CAP_BPF", "CAP_PERFMON"), ["syslog", "tracefs", "kcore"]),
        (holding("CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG", "CAP_DAC_READ_SEARCH"), ["kcore"]),
        (holding("CAP_BPF", "CAP_PERFMON", tracefs_mounted=False), ["syslog", "tracefs", "kcore", "mount"]),
        (holding("CAP_SYS_ADMIN", "CAP_SYSLOG", "CAP_DAC_OVERRIDE", tracefs_mounted=False), ["kcore"]),
        (holding("CAP_SYSLOG", kptr_restrict=2), ["bpf", "perfmon", "syslog", "tracefs", "kcore"]),
        (holding(kptr_restrict=0, perf_event_paranoid=1), ["bpf", "perfmon", "tracefs", "kcore"]),
        (holding(kptr_restrict=0, perf_event_paranoid=0), ["bpf", "perfmon", "tracefs", "kcore"]),
        (holding(kptr_restrict=0, perf_event_paranoid=2), ["bpf", "perfmon", "syslog", "tracefs", "kcore"]),
        (
            holding(*CAPABILITIES, initial_user_namespace=False),
            ["bpf", "perfmon", "syslog", "tracefs", "kcore"],
        ),
    ],
)
def test_what_is_missing(held: Privileges, names: list[str]) -> None:
    assert lacking(held) == names


@pytest.mark.parametrize("held", [holding("CAP_BPF", "CAP_PERFMON"), holding("CAP_SYS_ADMIN")])
def test_either_pair_of_capabilities_suffices(held: Privileges) -> None:
    assert refusal(held) is None
    require_recording(held)


def test_the_refusal_is_one_sentence_with_the_two_commands_that_cure_it() -> None:
    with pytest.raises(MemtraceError) as caught:
        require_recording(NOBODY)
    said = str(caught.value)
    assert "CAP_BPF and CAP_PERFMON" in said
    assert "run sudo /" in said or "run sudo memtrace" in said
    assert "--property='AmbientCapabilities=CAP_BPF CAP_PERFMON'" in said
    assert "--uid=1000" in said
    assert "\n" not in said


def test_the_refusal_names_only_what_is_missing() -> None:
    said = refusal(holding("CAP_BPF"))
    assert said is not None
    assert said.startswith("recording needs CAP_PERFMON, which")


def test_in_a_container_with_its_own_users_the_host_is_the_cure() -> None:
    said = refusal(holding(*CAPABILITIES, initial_user_namespace=False))
    assert said is not None
    assert "user namespace" in said
    assert "systemd-run" not in said


def test_a_container_has_to_be_started_with_what_it_lacks() -> None:
    said = refusal(holding("CAP_BPF", contained=True))
    assert said is not None
    assert said.startswith("recording needs CAP_PERFMON, which this process lacks: start the container with")
    assert "sudo" not in said


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (
            ["/opt/m/bin/memtrace", "record", "-d", "5", "--", "a b"],
            "sudo /opt/m/bin/memtrace record -d 5 -- 'a b'",
        ),
        (["/x/cli.py", "doctor"], f"sudo {sys.executable} -m memtrace.cli doctor"),
    ],
)
def test_the_cure_is_the_same_command_with_privileges(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], command: str
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    # Where memtrace is in PATH, that one would be named for a program that is not there.
    monkeypatch.setenv("PATH", "/nowhere")
    assert sudo_command() == command
    assert ambient_command(7).endswith(command.removeprefix("sudo "))


def test_the_transient_unit_is_one_that_systemd_run_understands() -> None:
    if shutil.which("systemd-run") is None:
        pytest.skip("no systemd-run")
    words = subprocess.run(["systemd-run", "--help"], capture_output=True, text=True, check=True).stdout
    options = [w.split("=")[0] for w in ambient_command(1000).split() if w.startswith("--")]
    assert options
    assert all(option in words for option in options)


def test_a_recorded_root_shell_misses_nothing(machine: Any) -> None:
    held = privileges(machine("debian-6.12"))
    assert (held.uid, held.initial_user_namespace) == (0, True)
    assert held.effective == frozenset(CAPABILITIES)


def test_a_kernel_without_user_namespaces_has_the_initial_one(machine: Any) -> None:
    root = machine("accept-6.12")
    assert not (root / "proc/self/uid_map").exists()
    assert privileges(root).initial_user_namespace is True


def test_a_mapped_user_namespace_is_not_the_initial_one(machine: Any) -> None:
    root = machine("debian-6.12", {"/proc/self/uid_map": "         0       1000          1\n"})
    assert privileges(root).initial_user_namespace is False


def test_an_empty_tree_grants_nothing(tmp_path: Path) -> None:
    held = privileges(tmp_path)
    assert (held.effective, held.initial_user_namespace) == (frozenset(), None)
    assert held.kptr_restrict is None


def test_tracefs_is_found_wherever_it_is_mounted(tree: Any) -> None:
    root = tree({"/proc/self/mounts": "proc /proc proc rw 0 0\nnone /t tracefs rw 0 0\n"})
    assert tracefs_mount(root) == "/t"


@pytest.mark.parametrize(
    ("files", "evidence", "words"),
    [
        ({}, "No module named 'bcc'", ["apt install python3-bpfcc", "dnf install python3-bcc"]),
        ({}, "/x/bcc/__init__.py is not BCC but another package of that name", ["pip uninstall bcc"]),
        (
            {"/usr/lib/python3/dist-packages/bcc/__init__.py": ""},
            "No module named 'bcc'",
            ["--system-site-packages"],
        ),
    ],
)
def test_the_way_to_bcc(tree: Any, files: dict[str, str], evidence: str, words: list[str]) -> None:
    said = bcc_cure(Fact("bcc", "no", evidence), tree(files))
    assert said is not None
    assert all(word in said for word in words)


def test_no_cure_for_what_is_there(tmp_path: Path) -> None:
    assert bcc_cure(Fact("bcc", "yes"), tmp_path) is None


def bcc_in_a_new_process(code: str) -> str:
    """bcc_fact() of an interpreter whose first path entry is prepared by ``code``."""
    code += "\nfrom memtrace.probes.machine.privileges import bcc_fact"
    code += "\nprint(*bcc_fact().__dict__.values(), sep='|')"
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.check_output([sys.executable, "-c", code], text=True, env=env).strip()


def test_another_package_of_that_name_is_told_from_bcc(tmp_path: Path) -> None:
    (tmp_path / "bcc.py").write_text("compile = None\n")
    said = bcc_in_a_new_process(f"import sys; sys.path.insert(0, {str(tmp_path)!r})")
    assert said == f"bcc|no|{tmp_path}/bcc.py is not BCC but another package of that name"


def test_bcc_that_is_not_there_is_said_to_be_missing() -> None:
    said = bcc_in_a_new_process("import sys; sys.modules['bcc'] = None")
    assert said.startswith("bcc|no|")


def as_nobody(*capabilities: str) -> list[str]:
    """The ``missing`` names in a process that has just these capabilities on this kernel."""
    caps = ",".join(f"+{c.removeprefix('CAP_').lower()}" for c in capabilities)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command += [f"--inh-caps={caps}", f"--ambient-caps={caps}"] if caps else []
    code = "from memtrace.probes.machine.privileges import missing; print(*(n.name for n in missing()))"
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), PYTHONDONTWRITEBYTECODE="1")
    return subprocess.check_output([*command, sys.executable, "-c", code], text=True, env=env).split()


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_a_real_process_with_few_capabilities_knows_them() -> None:
    assert {"bpf", "perfmon"} <= set(as_nobody())
    assert not {"bpf", "perfmon"} & set(as_nobody("CAP_BPF", "CAP_PERFMON"))
    assert not {"bpf", "perfmon", "mount"} & set(as_nobody("CAP_SYS_ADMIN"))
