# SPDX-License-Identifier: Apache-2.0
"""The command line: finds a verb's module when it is asked for, and turns errors into sentences."""

from __future__ import annotations

import errno
import importlib
import keyword
import os
import sys
import traceback

import click

from memtrace import __version__, safe
from memtrace.commands import streams
from memtrace.commands.say import tell
from memtrace.errors import MemtraceError

VERBS: dict[str, str] = {
    "doctor": "What this kernel lets us see, what not, and why.",
    "probes": "The events, and the kernel site that serves each here.",
    "record": "Record what memory costs on the running kernel.",
    "report": "The answer, from a run file.",
    "compare": "Is it the patch or is it noise: runs against runs.",
    "import": "A run from saved traces and kernel logs.",
    "check": "Whether a run is whole: its rows against the sums that it carries.",
    "programs": "The compiled BPF programs that are kept.",
    "bundle": "One file that records, to be copied into a guest.",
    "boot": "Catch the part of the boot that no BPF program can see.",
    "lab": "Boot kernels in QEMU, record in each, keep the runs.",
    "workload": "Memory work of known size, to record.",
    "selftest": "Known work, known answer: check the trace against it.",
}


class _Verbs(click.Group):
    """Imports a verb's module only when that verb runs: `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        # A verb that is a word of Python's has its module under that word and "_".
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f"memtrace.commands.{name}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  sudo memtrace record -d 5 && memtrace report run.parquet",
)
@click.version_option(__version__, message="memtrace %(version)s")
def memtrace() -> None:
    """What memory costs a Linux kernel: accepting, zeroing, allocating and hot-adding it."""


def main() -> int:
    """Run the command line; returns the exit status."""
    with streams.guarded():
        return _run()


def _run() -> int:
    try:
        result = memtrace.main(prog_name="memtrace", standalone_mode=False)
    except MemtraceError as error:
        tell(error, lines=error.lines)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        _tell(error)
        return error.exit_code
    except Exception as error:
        if (said := _shortage(error)) is not None:
            tell(said)
            return os.EX_OSERR
        if (said := _missing(error)) is not None:
            tell(said)
            return 1
        # A bug of memtrace; Python's own status, 1, is the answer of a condition that came true.
        click.echo(safe.page(traceback.format_exc()), err=True, nl=False)
        return os.EX_SOFTWARE
    return result if isinstance(result, int) else 0


def _shortage(error: BaseException | None) -> str | None:
    """What the machine or its limits ran out of, wherever in the work that was; None if nothing."""
    while error is not None:
        if isinstance(error, MemoryError):
            return "there is not enough memory; free some, or raise its limit (ulimit -v)"
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return f"too many files are open ({error.strerror}); raise the limit (ulimit -n)"
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return f"a disk is full ({error.filename or 'TMPDIR'}); free some space, or set TMPDIR to another"
        error = error.__cause__ or error.__context__
    return None


def _missing(error: BaseException) -> str | None:
    """What is not installed, or not in the bundle that this runs from; None if it is something else."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    from memtrace.probes.machine.invocation import bundle

    package = error.name.partition(".")[0]
    if package != __package__:
        beside = " (or put it into the folder beside the bundle)" if bundle() else ""
        return (
            f"this needs {package}, which this Python does not have; install it{beside}, or run it elsewhere"
        )
    return f"{error.name} is not in a bundle; install memtrace" if bundle() else None


def _tell(error: click.ClickException) -> None:
    """What click found wrong with the words, in one sentence; its help where there were none."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        error.show()
        return
    context = getattr(error, "ctx", None)
    verb = context.command_path if context is not None else "memtrace"
    message = " ".join(error.format_message().split()).removesuffix(".")
    tell(f"{message}; see `{verb} --help`")


if __name__ == "__main__":
    sys.exit(main())
