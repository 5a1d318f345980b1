# SPDX-License-Identifier: Apache-2.0
"""Where OK ends and NG begins, and what can be promised of it. Pure."""
