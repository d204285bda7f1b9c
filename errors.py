# SPDX-License-Identifier: Apache-2.0
"""The one exception that reaches the user as a sentence."""


class MemtraceError(Exception):
    """Something the user can act on: one sentence, what is wrong and what to do.

    ``cli.main`` prints it as ``memtrace: …`` on stderr and exits with
    ``exit_code``; nothing below the command line exits or prints it.
    ``lines``: below the sentence stand lines of their own, such as the last of a console;
    in others a newline is part of a name, and shown escaped.
    """

    def __init__(self, message: str, exit_code: int = 1, *, lines: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.lines = lines
