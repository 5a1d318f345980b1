# SPDX-License-Identifier: Apache-2.0
"""The script for Streamlit, in a folder of its own.

Beside a folder named `pages` Streamlit would take every file of it for a script of its own.
"""
