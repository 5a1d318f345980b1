# SPDX-License-Identifier: Apache-2.0
"""Reports that people sign: what was made in a shift, as data, CSV and PDF. Computes no statistics of its own."""
