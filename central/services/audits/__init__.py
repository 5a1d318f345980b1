# SPDX-License-Identifier: Apache-2.0
"""Which parts people are asked about, how often a part is judged, and what the shift allows."""
