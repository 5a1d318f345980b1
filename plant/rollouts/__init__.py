# SPDX-License-Identifier: Apache-2.0
"""Stories about rollouts: a worse package, a better one, a network cut in half; and what came of them."""
