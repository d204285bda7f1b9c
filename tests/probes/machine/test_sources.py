# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from memtrace.probes.machine.sources import kernel_log, option, parse_kmsg, parse_syslog, truth

KMSG = (
    "5,0,0,-;Linux version 6.12.117\n"
    "6,1,0,-;Command line: console=ttyS0\n"
    "6,2,10,c;mem auto-init: stack:off\n"
    " SUBSYSTEM=mm\n"
    "14,3,99,-;tdx: Guest detected\n"
)


def test_a_log_that_begins_with_record_0_is_complete() -> None:
    log = parse_kmsg(KMSG)
    assert log.complete
    assert log.lines[0] == "Linux version 6.12.117"


def test_a_log_whose_first_records_were_overwritten_is_not_complete() -> None:
    assert not parse_kmsg(KMSG.split("\n", 1)[1]).complete


def test_what_user_space_wrote_into_the_log_is_not_the_kernels_word() -> None:
    assert parse_kmsg(KMSG).find("tdx") is None


def test_dictionary_lines_of_a_record_are_no_messages() -> None:
    assert parse_kmsg(KMSG).lines[-1] == "mem auto-init: stack:off"


def test_syslog_text_is_complete_only_if_it_begins_with_the_banner() -> None:
    text = "<5>[    0.000000] Linux version 6.1.0\n<6>[    0.1][    T0] efi: EFI v2.7\n<14>[ 1.0] user\n"
    log = parse_syslog(text)
    assert log.complete
    assert log.lines == ("Linux version 6.1.0", "efi: EFI v2.7")
    assert not parse_syslog(text.split("\n", 1)[1]).complete


def test_no_log_at_all_is_neither_readable_nor_complete(tmp_path: Path) -> None:
    log = kernel_log(tmp_path)
    assert (log.readable, log.complete, log.why_silent()) == (False, False, "kernel log not readable")


def test_the_running_kernels_log_begins_with_its_banner_if_it_is_complete() -> None:
    log = kernel_log()
    if not log.complete:
        pytest.skip("log not readable or its start is lost")
    assert Path("/proc/sys/kernel/osrelease").read_text().strip() in (log.find("^Linux version ") or "")


@pytest.mark.parametrize(
    ("cmdline", "value"),
    [
        ("a init_on_alloc=0 init_on_alloc=1 b", "1"),
        ("init-on-alloc=off", "off"),
        ("init_on_alloc", ""),
        ("quiet -- init_on_alloc=1", None),
        ('x="a init_on_alloc=1 b" y', None),
        ('"init_on_alloc=1"', "1"),
        ("not_init_on_alloc=1", None),
    ],
)
def test_the_last_value_before_the_double_dash_counts(cmdline: str, value: str | None) -> None:
    assert option(cmdline, "init_on_alloc") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("Y", True),
        ("on", True),
        ("0", False),
        ("off", False),
        ("n", False),
        ("", None),
        ("2", None),
    ],
)
def test_truth_is_what_kstrtobool_says(text: str, value: bool | None) -> None:
    assert truth(text) is value
