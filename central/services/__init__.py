# SPDX-License-Identifier: Apache-2.0
"""What central does by itself, ticked by the worker or fed by the gateway; the rules are in `central.domain`."""
