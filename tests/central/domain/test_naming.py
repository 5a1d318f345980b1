# SPDX-License-Identifier: Apache-2.0
import pytest

from central.domain.naming import some_of


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, ""),
        (1, "st-0"),
        (5, "st-0, st-1, st-2, st-3, st-4"),
        (6, "st-0, st-1, st-2, st-3, st-4 and 1 more"),
        (2_000, "st-0, st-1, st-2, st-3, st-4 and 1,995 more"),
    ],
)
def test_first_names_and_how_many_more(count: int, said: str) -> None:
    assert some_of([f"st-{number}" for number in range(count)]) == said
