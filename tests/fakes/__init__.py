# SPDX-License-Identifier: Apache-2.0
"""In-memory stand-ins for what is outside a station: broker, clock, package server. Kept honest by batteries."""
