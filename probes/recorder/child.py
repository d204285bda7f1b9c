# SPDX-License-Identifier: Apache-2.0
"""Gives the traced COMMAND the signals of a fresh process, and none of the recorder's privileges.

shed() runs in the child, between fork and exec.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from memtrace.errors import MemtraceError
from memtrace.probes.machine.limits import OpenFiles, set_open_files
from memtrace.traces.owner import Owner, sudo_user

# include/uapi/linux/prctl.h, include/uapi/linux/capability.h
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522

_LIBC = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class User:
    """The user that COMMAND runs as."""

    owner: Owner
    groups: tuple[int, ...]
    environment: Mapping[str, str]
    """HOME, USER and LOGNAME; empty if the user has no entry in the password database."""

    def become(self) -> None:
        """Switch this process, which is root, to the user for good.  Raises OSError."""
        os.setgroups(self.groups)
        os.setresgid(*[self.owner.gid] * 3)
        os.setresuid(*[self.owner.uid] * 3)


def user_of_sudo() -> User:
    """Return the user who called sudo.  Raises MemtraceError (exit status 2) if there is none."""
    owner = sudo_user()
    if owner is None:
        raise MemtraceError(
            "--as-user is for recording through sudo (SUDO_UID and SUDO_GID): leave it out", 2
        )
    try:
        entry = pwd.getpwuid(owner.uid)
    except KeyError:
        return User(owner, (owner.gid,), {})
    groups = os.getgrouplist(entry.pw_name, owner.gid)
    names = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    return User(owner, tuple(groups), names)


def shed(user: User | None, files: OpenFiles | None) -> None:
    """Give this process the signals, limit on open files, capabilities and user that COMMAND starts with.

    Ambient and inheritable capabilities are dropped.  Root stays root, by its user ID, unless
    ``user`` is given.  Raises OSError.
    """
    _default_signals()
    if files is not None:
        set_open_files(files)
    _drop_capabilities()
    if user is not None:
        user.become()


def _default_signals() -> None:
    """Reset all signals to their default and block none, because Python ignores SIGPIPE and SIGXFSZ."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _drop_capabilities() -> None:
    # A strict kernel wants the ambient set dropped first; EINVAL means that the kernel has none.
    _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    if _LIBC.capget(ctypes.byref(header), sets) == 0:
        for part in sets:
            part.inheritable = 0
        if _LIBC.capset(ctypes.byref(header), sets) == 0:
            return
    number = ctypes.get_errno()
    raise OSError(number, f"its capabilities cannot be dropped ({os.strerror(number)})")
