# SPDX-License-Identifier: Apache-2.0
"""The station's own page, for the person who stands before it, and its figures for a Prometheus that scrapes them."""
