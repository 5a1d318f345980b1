# SPDX-License-Identifier: Apache-2.0
"""Words and wire shapes that the processes of Sightline share.

Pydantic models, enums, identifiers and topic names; no I/O, no numpy, nothing else of ours. What crosses
a process boundary is spelt here once. Every other top-level package may import this one.
"""

CONTRACT_VERSION = "1.0"
