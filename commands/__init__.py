# SPDX-License-Identifier: Apache-2.0
"""One module a verb: each parses its options, calls one thing and prints the answer."""
