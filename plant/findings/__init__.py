# SPDX-License-Identifier: Apache-2.0
"""What a run showed: truth joined with reports, the demands on it, and the words for it."""
