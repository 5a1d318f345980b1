# SPDX-License-Identifier: Apache-2.0
"""Tests, one folder a room. A test is named by the rule it proves."""

import os

import hypothesis

# ONNX Runtime sends what it runs, and on which machine, to its maker; only this, set before it is imported, keeps it
# from that. What a plant makes is nobody's business.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# How long an example takes says more of what else the machine does than of the code.
hypothesis.settings.register_profile("sightline", deadline=None)
hypothesis.settings.load_profile("sightline")
