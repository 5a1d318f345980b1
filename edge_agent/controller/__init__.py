# SPDX-License-Identifier: Apache-2.0
"""Links to the line controller (PLC): one protocol, one module per way to speak to it."""
