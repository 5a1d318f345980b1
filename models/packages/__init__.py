# SPDX-License-Identifier: Apache-2.0
"""The package on disk: written whole, read and checked."""
