# SPDX-License-Identifier: Apache-2.0
"""What systemd hears of a recording, on a socket of its kind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from memtrace.probes.recorder.service import SOCKET, tell_armed


def listening(address: str) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.settimeout(5)
    return manager


@pytest.mark.parametrize(("told", "bound"), [("{}/socket", "{}/socket"), ("@{}", "\0{}")])
def test_readiness_and_a_status_are_told(
    told: str, bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SOCKET, told.format(tmp_path))
    with listening(bound.format(tmp_path)) as manager:
        tell_armed(1.26)
        assert manager.recv(500) == b"READY=1\nSTATUS=recording, armed 1.3 s after its start"


@pytest.mark.parametrize("value", ["", "nonsense", "/nowhere/at/all"])
def test_nobody_listening_is_no_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOCKET, value)
    tell_armed(1.0)
