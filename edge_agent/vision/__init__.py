# SPDX-License-Identifier: Apache-2.0
"""Pure picture arithmetic: crops and plain measures. No files, no models."""
