# SPDX-License-Identifier: Apache-2.0
"""The line itself: cameras, what stands before them, what is true of each part, who judges audits, what leaves."""
