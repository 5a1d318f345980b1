# SPDX-License-Identifier: Apache-2.0
"""Where central keeps what it knows: SQL tables, rollups, pictures. No rules live here, only storing and finding."""
