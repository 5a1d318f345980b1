# SPDX-License-Identifier: Apache-2.0
"""What Streamlit runs for every viewer and refresh: only hands over to `dashboard.app`. Named by `__main__`."""

from dashboard.app import main

if __name__ == "__main__":
    main()
