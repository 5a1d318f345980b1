# SPDX-License-Identifier: Apache-2.0
"""What the station says about itself: state, latencies, faults."""
