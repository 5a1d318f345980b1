# SPDX-License-Identifier: Apache-2.0
"""Alarms as rows, and their way to people: routes, messages, the outbox, senders."""
