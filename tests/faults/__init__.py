# SPDX-License-Identifier: Apache-2.0
"""Faults really done to a real station: lost 0, duplicated 0 at a real central, counted by trigger numbers."""
