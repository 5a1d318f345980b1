# SPDX-License-Identifier: Apache-2.0
"""Machinery of `central/quality/drift.py`: blocks, day baseline, whitening, detector. Nobody else imports it."""
