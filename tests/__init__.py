# SPDX-License-Identifier: Apache-2.0
"""Tests, one folder a room. A test is named by the rule it proves."""
