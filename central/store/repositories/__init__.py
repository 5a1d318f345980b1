# SPDX-License-Identifier: Apache-2.0
"""Questions to the tables, one module a subject. Each function takes the session of the caller's transaction."""
