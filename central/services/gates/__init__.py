# SPDX-License-Identifier: Apache-2.0
"""A trained package before any station sees it: measured beside the champion, decided about, promoted."""
