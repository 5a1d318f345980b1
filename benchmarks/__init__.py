# SPDX-License-Identifier: Apache-2.0
"""Benchmarks, each named after the choice that it settles. Nothing imports them; `python -m benchmarks` runs them."""
