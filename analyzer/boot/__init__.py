# SPDX-License-Identifier: Apache-2.0
"""The boot view: phases, acceptance in each, and the balance of what was accepted when."""
