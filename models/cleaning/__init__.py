# SPDX-License-Identifier: Apache-2.0
"""Finds pictures that should not teach: unfit, repeated or out of place, and labels that are probably wrong."""
