# SPDX-License-Identifier: Apache-2.0
"""Reject outputs and triggers on a line controller, against real servers on loopback."""
