# SPDX-License-Identifier: Apache-2.0
"""A host that lacks something is told what, and the line that installs it."""

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import needs
from memtrace.lab.needs import For, Need


@pytest.fixture
def bare_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(needs, "SYSTEM_PATH", "/nowhere")


def test_a_host_without_qemu(bare_host: None) -> None:
    with pytest.raises(MemtraceError, match="cannot boot a guest: no qemu-system-x86_64, ") as refusal:
        needs.require(For.BOOT)
    assert "apt-get install --no-install-recommends cpio qemu-system-x86 util-linux" in str(refusal.value)


def test_only_the_asked_step_is_looked_at(bare_host: None) -> None:
    assert {need.step for need in needs.missing(For.IMAGE)} == {For.IMAGE}
    assert {need.step for need in needs.missing()} == set(needs.all_steps())
    assert set(For) - set(needs.all_steps()) <= {For.IMAGE_NOT_AS_ROOT, For.RPM}


def test_a_header_is_looked_for_as_a_file() -> None:
    assert needs.find("/usr/include/no-such-header.h") is None
    assert needs.find("/proc/self/status") == "/proc/self/status"


def test_the_cure_names_each_package_once() -> None:
    two = (Need("gcc", "gcc", For.BUILD), Need("cc1", "gcc", For.BUILD))
    assert needs.cure(two) == "sudo apt-get install --no-install-recommends gcc"


def test_the_command_answers_by_exit_status(bare_host: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert needs.main() == 1
    assert capsys.readouterr().out.startswith("sudo apt-get install")
