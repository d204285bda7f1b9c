# SPDX-License-Identifier: Apache-2.0
"""The host's tools: their failure is a sentence, and none is left running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab.run import last_complaint, run_tool


def test_what_it_prints_comes_back() -> None:
    assert run_tool("cat", stdin=b"abc") == b"abc"


def test_its_output_can_go_to_a_file(tmp_path: Path) -> None:
    assert run_tool("echo", "abc", stdout=tmp_path / "out") == b""
    assert (tmp_path / "out").read_text() == "abc\n"


def test_a_failure_carries_the_complaint() -> None:
    with pytest.raises(MemtraceError, match=r"sh failed \(3\): it broke"):
        run_tool("sh", "-c", "echo it broke >&2; exit 3")


def test_a_full_disk_is_told_with_the_way_out() -> None:
    with pytest.raises(MemtraceError, match=r"cp failed: the disk is full; .* XDG_CACHE_HOME"):
        run_tool("cp", "/proc/self/status", "/dev/full")


def test_a_missing_tool_comes_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memtrace.lab.run.find", lambda name: None)
    with pytest.raises(MemtraceError, match=r"no mmdebstrap here; .* mmdebstrap$"):
        run_tool("mmdebstrap")


def test_the_line_about_an_error_is_preferred() -> None:
    assert last_complaint("fatal error: no space\nrecipe failed\n\n") == "fatal error: no space"
    assert last_complaint("one\ntwo\n") == "two"
    assert last_complaint("") == "it said nothing"


def test_leaving_ends_the_tool_and_what_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        # A job in the background is started with SIGINT ignored, and Python then leaves it so.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from memtrace.lab.run import run_tool\n"
        f"run_tool('sh', '-c', 'sleep 99 & echo $! >{child}.new; mv {child}.new {child}; wait')"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not child.exists():
        assert caller.poll() is None
        time.sleep(0.02)
    caller.send_signal(signal.SIGINT)
    caller.wait(60)
    with pytest.raises(ProcessLookupError):
        for _ in range(1000):
            os.kill(int(child.read_text()), 0)
            time.sleep(0.02)


def test_leaving_before_the_tool_is_known_ends_it_too(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import os, signal, subprocess, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupted(subprocess.Popen):\n"
        "    def __init__(self, *given, **options):\n"
        "        super().__init__(*given, **options)\n"
        f"        while not os.path.exists({str(child)!r}): time.sleep(0.02)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "subprocess.Popen = Interrupted\n"
        "from memtrace.lab.run import run_tool\n"
        f"run_tool('sh', '-c', 'echo $$ >{child}.new; mv {child}.new {child}; sleep 99')"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)
