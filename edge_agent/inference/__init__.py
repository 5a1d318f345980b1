# SPDX-License-Identifier: Apache-2.0
"""Running a package's graph: session seam, ONNX Runtime, the active packages, order of variants."""
