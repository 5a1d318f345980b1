# SPDX-License-Identifier: Apache-2.0
"""How packages reach stations in waves and how they come back; one file for each step. `moving.py` ticks them."""
