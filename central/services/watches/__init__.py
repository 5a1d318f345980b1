# SPDX-License-Identifier: Apache-2.0
"""What central notices by itself: drift, novelty, silence, odd rates, failing services, and what may have caused it."""
