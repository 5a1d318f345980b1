# SPDX-License-Identifier: Apache-2.0
"""A release of new limits: the champion's graph to the last byte, its limits placed anew on parts that people judged.

What a plant does once its archive holds more sound parts, and defects, than the first training had. Stations have every
chunk of the graph already, so next to nothing is fetched; and it takes as long to judge as before. The rule is the
trainer's own (`models.limits.placing`). Called by `plant.rollouts.player`.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from contracts.jobs import LimitsPolicy
from models.limits.placing import place_limits
from models.packages.reading import OpenPackage, score_pictures
from models.packages.writing import write_package
from plant.parts.catalogue import Pixels


def with_new_limits(
    champion: OpenPackage, sound: Sequence[Pixels], defective: Sequence[Pixels], folder: Path, now: datetime
) -> str:
    """Write the package into `folder`; returns its id.

    Args:
        champion: whose graph it is.
        sound: parts judged good, uint8 BGR, none of which it learnt from.
        defective: parts judged defective.
        folder: where the package comes about, as a whole.
        now: when it was made.
    """
    manifest = champion.manifest
    graph = champion.model(champion.preferred())
    limits, _ = place_limits(
        score_pictures(graph, sound, 1).scores, score_pictures(graph, defective, 1).scores, LimitsPolicy()
    )
    files = {each.name: (each.role, (champion.folder / each.name).read_bytes()) for each in manifest.files}
    lineage = manifest.lineage.model_copy(update={"parent_package_id": champion.package_id})
    anew = manifest.model_copy(update={"created_at": now, "limits": limits, "lineage": lineage})
    return write_package(folder, anew, files)
