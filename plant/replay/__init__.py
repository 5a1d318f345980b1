# SPDX-License-Identifier: Apache-2.0
"""Folders of real pictures played as a line."""
