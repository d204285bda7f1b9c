# SPDX-License-Identifier: Apache-2.0
"""Tells a service manager that recording has begun, as sd_notify(3) does."""

from __future__ import annotations

import contextlib
import os
import socket

SOCKET = "NOTIFY_SOCKET"


def tell_armed(seconds: float) -> None:
    """Tell systemd that recording has begun, ``seconds`` after the start.

    Nothing is sent where NOTIFY_SOCKET names no socket, and errors are ignored.
    """
    address = os.environ.get(SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    name = f"\0{address[1:]}" if address.startswith("@") else address
    text = f"READY=1\nSTATUS=recording, armed {seconds:.1f} s after its start"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(text.encode(), name)
