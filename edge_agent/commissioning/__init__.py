# SPDX-License-Identifier: Apache-2.0
"""Bringing a station into service: asking for its settings, and finding out what keeps it from working."""
