# SPDX-License-Identifier: Apache-2.0
"""The central service: stores verdicts, watches accuracy, decides on learning, promotion and rollout."""
