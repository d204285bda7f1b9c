# SPDX-License-Identifier: Apache-2.0
"""The one exception that reaches the user as a sentence."""


class MemtraceError(Exception):
    """Something the user can act on: one sentence, what is wrong and what to do.

    ``cli.main`` prints it as ``memtrace: …`` on stderr and exits with
    ``exit_code``; nothing below the command line exits or prints it.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
