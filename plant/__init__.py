# SPDX-License-Identifier: Apache-2.0
"""A whole plant on one machine: rendered parts with known truth, simulated cameras, broker, supervisor."""
