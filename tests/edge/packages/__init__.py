# SPDX-License-Identifier: Apache-2.0
"""Tests of package trust, download and installation."""
