# SPDX-License-Identifier: Apache-2.0
"""Tests of the way from the station to central."""
