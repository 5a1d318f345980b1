# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

FORBIDDEN = ("torch", "central", "models", "fastapi", "sqlmodel", "sqlalchemy", "streamlit", "plant", "dashboard")
# Optional, for the few stations whose settings name them.
OPTIONAL = ("pymodbus", "asyncua", "gi")


def test_importing_the_station_brings_no_training_and_no_server() -> None:
    program = (
        "import sys, edge_agent.app, edge_agent.__main__\n"
        f"print(sorted({{name.split('.')[0] for name in sys.modules}} & set({FORBIDDEN + OPTIONAL!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
