# SPDX-License-Identifier: Apache-2.0
"""From the station to central: message bus, durable outbox, reporter, evidence, commands."""
