# SPDX-License-Identifier: Apache-2.0
"""Attacks on a station, by name. `docs/threats.md` is their table."""
