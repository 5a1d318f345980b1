# SPDX-License-Identifier: Apache-2.0
"""The pages, one a file, each with a function `page` that draws it. Called by `app` through Streamlit."""
