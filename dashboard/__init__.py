# SPDX-License-Identifier: Apache-2.0
"""Pages for the QA manager and the line; speaks only HTTP to central."""
