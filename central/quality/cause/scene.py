# SPDX-License-Identifier: Apache-2.0
"""An observation arranged by station and by product, with what people changed taken into account.

Where a package changed at the onset the score of its streams says nothing: another package has another scale. Asked by
`ranking` and `words`; decides nothing.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from central.quality.cause.evidence import Picture, between, has_risen_everywhere, mean, picture_of, pooled
from central.quality.cause.observation import Change, ChangeKind, Counts, Observation, ProductSeen, StreamSeen

# Without another station (product) to compare with, its own (its station's) shift counts this much.
_ALONE: Final = 0.6
# A change belongs to the onset when it lies this near, as a share of the time seen since; none beyond the second.
_NEAR, _FAR = 0.08, 0.3


@dataclass(frozen=True)
class Watched:
    """A stream and what changed in its pictures."""

    stream: StreamSeen
    picture: Picture


class Scene:
    """See the module."""

    def __init__(self, observation: Observation) -> None:
        self.observation = observation

    @cached_property
    def watched(self) -> tuple[Watched, ...]:
        """Streams in a fixed order, whatever the order they came in."""
        streams = sorted(self.observation.streams, key=lambda each: (each.station, each.product))
        return tuple(Watched(stream, picture_of(self._comparable(stream))) for stream in streams)

    @property
    def stations(self) -> list[str]:
        """All of them, in order."""
        return sorted({each.stream.station for each in self.watched})

    @property
    def products(self) -> list[str]:
        """All of them, in order."""
        return sorted({each.stream.product for each in self.watched} | {p.product for p in self.observation.products})

    def at(self, station: str) -> list[Watched]:
        """Streams of one station."""
        return [each for each in self.watched if each.stream.station == station]

    def others(self, inside: list[Watched]) -> list[Watched]:
        """All other streams of which something is known: an unknown one is no witness that it stayed as it was."""
        return [each for each in self.watched if each not in inside and each.stream.shifts]

    def of(self, product: str) -> list[Watched]:
        """Streams of one product."""
        return [each for each in self.watched if each.stream.product == product]

    def seen(self, product: str) -> ProductSeen | None:
        """What people found of it."""
        return next((seen for seen in self.observation.products if seen.product == product), None)

    def only_at(self, station: str, *, image: bool) -> float:
        """Degree to which it is this station with all its products, and no other. `image`: without the score."""
        inside = self.at(station)
        return self._only(inside, image=image)

    def only_of(self, product: str) -> float:
        """Degree to which it is this product at all its stations, and no other."""
        inside = self.of(product)
        alone = _ALONE if sum(bool(each.stream.shifts) for each in inside) < 2 else 1.0
        return alone * self._only(inside, image=False)

    def everywhere(self) -> float:
        """Degree to which every station and product shows it: light that all stations share, say."""
        return min((each.picture.image for each in self.watched), default=0.0) if len(self.stations) > 1 else 0.0

    def steady(self, product: str) -> list[Watched]:
        """Streams of a product at stations where no picture moved: what rates do there is not the camera's doing."""
        return [each for each in self.of(product) if self._moved_at(each.stream.station) < 0.5]

    def inputs_moved(self, product: str) -> float:
        """Degree to which pictures moved at any station of this product."""
        return max((self._moved_at(each.stream.station) for each in self.of(product)), default=0.0)

    def rejects(self, product: str) -> tuple[Counts, Counts]:
        """Before and since, of steady streams."""
        streams = [each.stream for each in self.steady(product)]
        return pooled([s.rejects_before for s in streams]), pooled([s.rejects_since for s in streams])

    def unusual(self, product: str) -> tuple[Counts, Counts]:
        """Unusual embeddings among accepted parts before and since, of steady streams."""
        streams = [each.stream for each in self.steady(product)]
        return pooled([s.unusual_before for s in streams]), pooled([s.unusual_since for s in streams])

    def more_rejects(self, product: str) -> float:
        """Degree to which more of this product is rejected at all of its steady stations."""
        streams = [each.stream for each in self.steady(product)]
        return has_risen_everywhere([s.rejects_before for s in streams], [s.rejects_since for s in streams])

    def more_unusual(self, product: str) -> float:
        """Degree to which more accepted parts of this product look unusual at all of its steady stations."""
        streams = [each.stream for each in self.steady(product)]
        return has_risen_everywhere([s.unusual_before for s in streams], [s.unusual_since for s in streams])

    def package_change(self, product: str) -> Change | None:
        """The package change of a product that lies at the onset."""
        wanted = [
            change
            for change in self.observation.changes
            if change.kind is ChangeKind.PACKAGE and change.product in {None, product} and self.nearness(change) > 0.5
        ]
        return min(wanted, key=lambda change: (-self.nearness(change), change.name), default=None)

    def nearness(self, change: Change) -> float:
        """1 when a change and the onset fall together."""
        seen_s = self.observation.until - self.observation.since
        return 1.0 - between(abs(change.at - self.observation.since) / seen_s, _NEAR, _FAR)

    def explained(self, change: Change) -> float:
        """Degree to which exactly the streams that a change touches have moved, and when it was made."""
        inside = [each for each in self.watched if change.is_for(each.stream)]
        outside = self.others(inside)
        moved = mean(each.picture.image for each in inside if each.stream.shifts)
        return self.nearness(change) * moved * (1.0 - mean(each.picture.image for each in outside))

    def _moved_at(self, station: str) -> float:
        return max(each.picture.any for each in self.at(station))

    def _only(self, inside: list[Watched], *, image: bool) -> float:
        def moved(each: Watched) -> float:
            return each.picture.image if image else each.picture.any

        outside, known = self.others(inside), [each for each in inside if each.stream.shifts]
        apart = 1.0 - mean(moved(each) for each in outside) if outside else _ALONE
        return mean(moved(each) for each in known) * apart

    def _comparable(self, stream: StreamSeen) -> StreamSeen:
        for change in self.observation.changes:
            if change.kind is ChangeKind.PACKAGE and change.is_for(stream) and self.nearness(change) > 0:
                shifts = {channel: shift for channel, shift in stream.shifts.items() if channel != "score"}
                return StreamSeen(stream.station, stream.product, shifts, stream.onset, *_counts(stream))
        return stream


def _counts(stream: StreamSeen) -> tuple[Counts, Counts, Counts, Counts]:
    return stream.rejects_before, stream.rejects_since, stream.unusual_before, stream.unusual_since
