# SPDX-License-Identifier: Apache-2.0
"""Detectors: one protocol (`base`), one file each, the same shape each."""
