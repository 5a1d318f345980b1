# SPDX-License-Identifier: Apache-2.0
"""Own browser components: a Python wrapper beside its JavaScript, style and markup; no build step."""
