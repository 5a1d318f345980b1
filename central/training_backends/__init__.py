# SPDX-License-Identifier: Apache-2.0
"""Where trainings run: one seam (`seam`), and what stands behind it (`local`, `ray`); `choosing` makes them by name."""
