# SPDX-License-Identifier: Apache-2.0
"""Learns to tell sound parts from defective ones, and measures how well. The only place for torch.

| folder | turns |
|---|---|
| `data` | files into judged pictures: layouts, labels, decoding, splits |
| `graphs` | a trunk and a detector into ONNX, exact and quantized |
| `detectors` | features into scores: one file a detector |
| `limits` | scores into limits and what can be promised of them |
| `packages` | a package into files and back |
| `measuring` | a package and held-out pictures into figures: `evaluate`, `compare`, `inspect` |
| `reporting` | figures into what people read: page, tables, progress |
| `distributed` | pictures and heads into features and weights on several workers, which one leads |
| `training` | a job into a package and its evaluation |
| `cleaning` | pictures and labels into a list of what should be looked at before it teaches: `clean` |

Imports go upwards in this table, but for two: `graphs.export` joins a detector to its graph, and `measuring` speaks
through `reporting`.
"""

import os
from typing import Final

# ONNX Runtime sends what it runs, and on which machine, to its maker; only this, set before it is imported, keeps it
# from that. What a plant makes is nobody's business.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Goes into each package's lineage; raised when the same pictures would give another detector.
__version__: Final = "0.1.0"
