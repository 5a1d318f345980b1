# SPDX-License-Identifier: Apache-2.0
"""Tests of frame sources: one battery for all, then what is special to each."""
