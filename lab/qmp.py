# SPDX-License-Identifier: Apache-2.0
"""QEMU's machine protocol over a connected socket: commands, answers, events."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from memtrace.errors import MemtraceError

Message = dict[str, Any]


class _Silence(MemtraceError):
    """No answer in time."""


class Qmp:
    """One monitor connection.  Raises MemtraceError where QEMU refuses or is gone."""

    def __init__(self, connection: socket.socket, timeout_s: float = 20.0) -> None:
        self.timeout_s = timeout_s
        self._socket = connection
        self._buffer = b""
        self._events: list[Message] = []
        self._ready = False

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command and return its answer."""
        if not self._ready:
            self._ready = True
            self._receive(lambda message: "QMP" in message, "greeting")
            self.execute("qmp_capabilities")
        request = {"execute": command, "arguments": arguments}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise MemtraceError(f"QEMU is gone before {command}: {error.strerror}") from error
        answer = self._receive(lambda m: "return" in m or "error" in m, command)
        if "error" in answer:
            raise MemtraceError(f"QEMU refuses {command}: {answer['error'].get('desc')}")
        return answer["return"]

    def forget_events(self) -> None:
        """Drop the events that came so far."""
        self._events.clear()

    def wait_event(self, wanted: Callable[[Message], bool]) -> Message | None:
        """The first event since those waited for or dropped that is wanted.

        None where none comes in time.
        """
        while self._events:
            event = self._events.pop(0)
            if wanted(event):
                return event
        with contextlib.suppress(_Silence):
            return self._receive(lambda m: "event" in m and wanted(m), "an event")
        return None

    def _receive(self, wanted: Callable[[Message], bool], what: str) -> Message:
        deadline = time.monotonic() + self.timeout_s
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                message: Message = json.loads(line)
                if wanted(message):
                    return message
                if "event" in message:
                    self._events.append(message)
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise _Silence(f"QEMU did not answer {what} within {self.timeout_s:.0f} s") from None
            except OSError as error:
                raise MemtraceError(f"QEMU is gone before {what}: {error.strerror}") from error
            if not data:
                raise MemtraceError(f"QEMU is gone before {what}")
            self._buffer += data
