# SPDX-License-Identifier: Apache-2.0
"""Whom root works for: the user who called sudo."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

_NOBODY_AT_ALL = 2**32 - 1
"""(uid_t) -1: chown(2) and setresuid(2) take it for "leave it as it is"."""


@dataclass(frozen=True)
class Owner:
    """A user and their group, by number."""

    uid: int
    gid: int


def sudo_user(environment: Mapping[str, str] = os.environ) -> Owner | None:
    """Who called sudo, by SUDO_UID and SUDO_GID.

    None if this process is not root, if root itself called sudo, or if either is not
    the plain decimal number of a user or group.
    """
    if os.geteuid() != 0:
        return None
    uid, gid = (_number(environment.get(name, "")) for name in ("SUDO_UID", "SUDO_GID"))
    if uid is None or gid is None or uid == 0:
        return None
    return Owner(uid, gid)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    number = int(text)
    return number if number < _NOBODY_AT_ALL else None
