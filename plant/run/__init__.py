# SPDX-License-Identifier: Apache-2.0
"""The commands `demo`, `up` and `status`, and what they do while the line runs."""
