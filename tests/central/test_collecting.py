# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

_COUNT = """
import gc

from central.collecting import collect_seldom

looks = []
gc.callbacks.append(lambda phase, info: looks.append(info["generation"]) if phase == "start" else None)


def looks_of_a_large_fleet():
    looks.clear()
    kept = [[number] for number in range(50_000)]
    return len(looks)


before = looks_of_a_large_fleet()
known = object.__new__(type("Known", (), {}))
collect_seldom()
assert all(each is not known for each in gc.get_objects())
after = looks_of_a_large_fleet()
print(before, after)
known.itself = known
for _ in range(3 * 10_000):
    cycle = []
    cycle.append(cycle)
print(sum(type(each) is list and len(each) == 1 and each[0] is each for each in gc.get_objects()))
"""


def test_objects_of_a_large_fleet_are_gone_through_seldom_and_garbage_goes_all_the_same() -> None:
    """In a process of its own: what this one collects is not the tests' to change."""
    done = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True)
    before, after, left = (int(word) for word in done.stdout.split())
    assert before > 10 * after
    assert 0 < after < 10
    assert left < 20_000
