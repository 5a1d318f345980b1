# SPDX-License-Identifier: Apache-2.0
"""Scripted incidents with a known cause, played on simulated cameras, and what a monitor would have seen of them."""
