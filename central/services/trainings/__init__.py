# SPDX-License-Identifier: Apache-2.0
"""When, on what and where a model is trained, what it cost, and what taught what."""
