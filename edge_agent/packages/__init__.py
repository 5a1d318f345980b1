# SPDX-License-Identifier: Apache-2.0
"""Packages at the station: trust rules, slots on disk, download, self-test, installer."""
