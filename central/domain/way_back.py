# SPDX-License-Identifier: Apache-2.0
"""Where a station goes back to when a rollout is taken back: decided then, among what it may still have.

Pure: takes names, gives a name and why. The package that it ran before may have been withdrawn since, or be refused by
the station; it then gets one that was shown to be fit, and if there is none no package, so that its parts go to the
fail-safe output: better than to judge on with what was found bad. Called by `services/rollouts/ways_back.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WayBack:
    """`package_id` None: no package. `why`: empty where it is what the station ran before."""

    package_id: str | None
    why: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether there was something before and nothing is left to go back to."""
        return self.package_id is None and bool(self.why)

    def in_words(self) -> str:
        """For history and alarms, after the station's name."""
        where = f"package {self.package_id[:12]}" if self.package_id is not None else "no package"
        return f"goes back to {where}: {self.why}"


def way_back(previous: str | None, champion: str | None, shown: Sequence[str], gone: Mapping[str, str]) -> WayBack:
    """The station's own package of before, else the champion, else the newest that was shown, else none.

    Args:
        previous: what the station ran before; None: nothing, and nothing it runs again.
        champion: of the product.
        shown: packages whose last rollout finished, newest first. One that was only promoted judged nowhere yet: the
            way back is no place to try it.
        gone: packages that the station cannot have or must not, each with the reason, as the end of a sentence.
    """
    if previous is None or previous not in gone:
        return WayBack(previous)
    why = f"the one before, {previous[:12]}, {gone[previous]}"
    if champion is not None and champion not in gone:
        return WayBack(champion, f"{why}; this is the champion")
    newest = next((each for each in shown if each not in gone), None)
    if newest is not None:
        return WayBack(newest, f"{why}; this is the newest that finished a rollout")
    return WayBack(None, f"{why}, and no other of the product is left that finished a rollout")
