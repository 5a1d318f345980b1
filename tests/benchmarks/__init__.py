# SPDX-License-Identifier: Apache-2.0
"""The parts of benchmarks that can be wrong without a measurement showing it."""
