# SPDX-License-Identifier: Apache-2.0
"""No process outlives the one who started it.  These start QEMU without a guest."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab.needs import find
from memtrace.lab.process import ended_by_signals, qemu_process, signals_held
from memtrace.lab.qmp import Qmp

QEMU = "qemu-system-x86_64"
EMPTY = [QEMU, "-machine", "none", "-nodefaults", "-display", "none", "-S"]

needs_qemu = pytest.mark.skipif(find(QEMU) is None, reason=f"no {QEMU} here")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@needs_qemu
def test_it_is_gone_on_leaving_and_on_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), qemu_process(EMPTY, (), tmp_path / "said") as process:
        assert is_alive(process.pid)
        raise KeyboardInterrupt
    assert not is_alive(process.pid)


@needs_qemu
def test_it_dies_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from memtrace.lab.process import qemu_process\n"
        f"with qemu_process({EMPTY!r}, (), Path({str(tmp_path / 'said')!r})) as process:\n"
        "    print(process.pid, flush=True); time.sleep(99)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    time.sleep(0.2)
    assert is_alive(pid)
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not is_alive(pid):
            return
        time.sleep(0.02)
    pytest.fail("QEMU outlives its parent")


def test_a_host_without_qemu(tmp_path: Path) -> None:
    with pytest.raises(MemtraceError, match="no qemu-none here"), qemu_process(["qemu-none"], (), tmp_path):
        pass


def test_sigterm_becomes_an_exception_and_then_is_itself_again() -> None:
    with pytest.raises(SystemExit) as leaving, ended_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert leaving.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_waits_until_what_is_begun_is_known() -> None:
    child = None
    with pytest.raises(SystemExit), ended_by_signals(), signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        child = "known"
    assert child == "known"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_program_s_own_handler_stays() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ended_by_signals():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@needs_qemu
def test_the_monitor_answers_refuses_and_notices_the_end(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    monitor = ["-chardev", f"socket,id=m,fd={theirs.fileno()}", "-mon", "chardev=m,mode=control"]
    with ours, qemu_process([*EMPTY, *monitor], (theirs.fileno(),), tmp_path / "said"):
        theirs.close()
        qmp = Qmp(ours)
        assert qmp.execute("query-status")["status"] == "prelaunch"
        with pytest.raises(MemtraceError, match="QEMU refuses device_del: Device 'x' not found"):
            qmp.execute("device_del", id="x")
        qmp.execute("quit")
        assert qmp.wait_event(lambda event: event["event"] == "SHUTDOWN")
        with pytest.raises(MemtraceError, match="QEMU is gone before"):
            qmp.execute("query-status")
