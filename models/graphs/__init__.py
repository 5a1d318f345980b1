# SPDX-License-Identifier: Apache-2.0
"""From a trunk and a detector to ONNX: the trunk, the front, the whole graph, its INT8 form."""
