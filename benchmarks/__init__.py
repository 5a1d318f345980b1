# SPDX-License-Identifier: Apache-2.0
"""Benchmarks, each named after the choice that it settles. Nothing imports them; `python -m benchmarks` runs them."""

import os

# ONNX Runtime sends what it runs, and on which machine, to its maker; only this, set before it is imported, keeps it
# from that. What a plant makes is nobody's business.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
