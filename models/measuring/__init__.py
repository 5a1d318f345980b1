# SPDX-License-Identifier: Apache-2.0
"""A finished package on held-out pictures: the commands `evaluate`, `compare` and `inspect`."""
