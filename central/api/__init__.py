# SPDX-License-Identifier: Apache-2.0
"""The versioned HTTP API under `/api/v1`. Routers only; rules live in `domain` and `services`."""
