# SPDX-License-Identifier: Apache-2.0
"""One training from job to package: `commands` is what a person types, `job` the steps in order."""
