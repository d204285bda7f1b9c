# SPDX-License-Identifier: Apache-2.0
"""One recording, from the wanted events to the closed file.

Maps and rings are read here, and become rows, sums and losses.
May import every other room of probes/ but boot/.
"""
