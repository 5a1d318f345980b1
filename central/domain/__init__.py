# SPDX-License-Identifier: Apache-2.0
"""Central's rules, pure: what is an escape, what may train, what may be promoted, how a rollout goes on.

Frozen dataclasses in and out, time is a parameter. No database, no files, no broker; the services act.
"""
