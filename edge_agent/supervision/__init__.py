# SPDX-License-Identifier: Apache-2.0
"""What the station and the supervisor of its process (systemd) tell each other."""
