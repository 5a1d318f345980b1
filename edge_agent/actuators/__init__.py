# SPDX-License-Identifier: Apache-2.0
"""Where the station's word on a part goes: one protocol, one module per kind of reject output."""
