# SPDX-License-Identifier: Apache-2.0
"""Private memory of virtual machines on the host: one module for each question."""
