# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: one protocol, one module per kind of camera."""
