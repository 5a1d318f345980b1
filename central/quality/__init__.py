# SPDX-License-Identifier: Apache-2.0
"""Pure statistics on arrays: rates with intervals, audit draws, control charts.

No database, no clock, no wire shapes. Called by the services and by the API when a figure is shown.
"""
