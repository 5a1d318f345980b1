# SPDX-License-Identifier: Apache-2.0
"""Pictures on the way into training: judged parts, splits, and made-up pictures for distilling."""
