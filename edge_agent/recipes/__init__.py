# SPDX-License-Identifier: Apache-2.0
"""What to inspect on which product: recipes of the settings and of central, and the product that is made now."""
