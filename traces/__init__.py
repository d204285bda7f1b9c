# SPDX-License-Identifier: Apache-2.0
"""The run file: schema, writer, reader and importers."""
