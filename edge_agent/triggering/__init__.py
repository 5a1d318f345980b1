# SPDX-License-Identifier: Apache-2.0
"""Where triggers come from when they come beside the frames, and which frame belongs to which of them."""
