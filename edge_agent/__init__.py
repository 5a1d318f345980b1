# SPDX-License-Identifier: Apache-2.0
"""The program beside the camera: grab, judge, signal, record, report. Knows no training and no server."""
