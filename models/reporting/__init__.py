# SPDX-License-Identifier: Apache-2.0
"""What people read: the page beside a package, tables and progress on a terminal. Measures nothing."""
