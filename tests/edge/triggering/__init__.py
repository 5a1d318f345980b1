# SPDX-License-Identifier: Apache-2.0
"""Triggers, and which frame belongs to which."""
