# SPDX-License-Identifier: Apache-2.0
"""The only room of central that knows MQTT."""
