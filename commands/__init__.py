# SPDX-License-Identifier: Apache-2.0
"""One module a verb: each parses its options, calls one thing and prints the answer."""

SETTINGS = {"help_option_names": ["-h", "--help"]}
"""Context settings of every verb, so that it is the same alone and below `memtrace`."""
