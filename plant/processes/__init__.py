# SPDX-License-Identifier: Apache-2.0
"""The processes of a plant: broker, central, stations, their settings, and who starts and ends them."""
