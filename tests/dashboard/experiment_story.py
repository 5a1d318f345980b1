# SPDX-License-Identifier: Apache-2.0
"""The history's part of the plant's story: the training of the new package, the one before it, and one that failed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from central.api import experiment_schemas, lineage_schemas, schemas
from central.api.views import plain_rate
from contracts.jobs import MadeBy, MetricCurve, VariantMeasured
from contracts.vocabulary import (
    DetectorKind,
    Judgement,
    LabelSource,
    PartUse,
    PromotionOutcome,
    RolloutState,
    TrainingState,
    TrainingTrigger,
    Variant,
)
from tests.dashboard.learning_story import NEW, OLD, PRODUCT

if TYPE_CHECKING:
    from tests.dashboard.plant_story import Story

PICTURE = "9" * 64
DATASET = "e" * 64


def answer(story: Story, path: str, query: dict[str, str]) -> tuple[int, object]:
    """Of `/experiments` and `/lineage/pictures`."""
    if path.startswith("/lineage/pictures/"):
        if not path.endswith(PICTURE):
            return 404, schemas.Problem(error="not found", detail="nobody judged it")
        return 200, _picture(story)
    known = {each.training_id: each for each in _experiments(story)}
    if path == "/experiments":
        plain = [each.model_copy(update={"curves": []}) for each in known.values()]
        return 200, experiment_schemas.ExperimentPage(items=plain, next_id=None)
    if path == "/experiments/compare":
        told = [experiment_schemas.DifferenceView(name="parameters.size_px", values=[256, 128])]
        chosen = [known[each] for each in query["ids"].split(",")]
        return 200, experiment_schemas.ComparisonView(experiments=chosen, differences=told)
    return 200, known[path.rsplit("/", maxsplit=1)[-1]]


def _experiments(story: Story) -> list[experiment_schemas.ExperimentView]:
    if not story.has_stations:
        return []
    made = _one(story, "t-2", NEW, 256)
    failed = _one(story, "t-3", None, 256)
    changes = {"state": TrainingState.FAILED, "error": "no <room> left", "variants": [], "classes": [], "curves": []}
    return [failed.model_copy(update=changes), made, _one(story, "t-1", OLD, 128)]


def _one(story: Story, training_id: str, package_id: str | None, size_px: int) -> experiment_schemas.ExperimentView:
    champion = OLD if package_id == NEW else None
    return experiment_schemas.ExperimentView(
        training_id=training_id, product=PRODUCT, is_simulated=story.is_simulated, detector=DetectorKind.AUTO,
        trigger=TrainingTrigger.PERSON, reason="a <new> lamp", state=TrainingState.FINISHED, error=None,
        created_at=story.now - timedelta(minutes=12), finished_at=story.now, job_sha256="7" * 64,
        laid_out_at=story.now, parameters={"size_px": size_px},
        labels={"TRAIN": {"<pit>": experiment_schemas.LabelCount(pictures=29, parts=20)}},
        made_by=MadeBy(machine="press-<7>", system="Linux", cores=8, python="3.11.7", libraries={"torch": "2.13.0"}),
        curves=[MetricCurve(name="head loss", steps=[1, 2], values=[0.9, 0.4])],
        dataset_id=DATASET, dataset_pictures=461, package_id=package_id, champion_package_id=champion,
        made_detector=DetectorKind.MIXED, candidate_variant=Variant.INT8_U8S8, backbone="compact",
        training_seconds=48.0,
        variants=[
            VariantMeasured(variant=Variant.INT8_U8S8, image_auroc=0.9921, infer_p50_ms=9.8, is_included=True),
            VariantMeasured(variant=Variant.FP32, image_auroc=0.9927, is_included=True),
        ],
        classes=[
            experiment_schemas.ClassResult(
                name="<pit>", pictures=30, wrong=plain_rate(1, 12), champion=plain_rate(9, 12)
            )
        ],
        champion_image_auroc=0.94, notes=[], outcome=PromotionOutcome.PROMOTED if package_id else None,
        overruled_by="<anna>" if package_id == NEW else None,
        rollouts=[
            experiment_schemas.ExperimentRollout(
                id=3, state=RolloutState.RUNNING, created_at=story.now, finished_at=None
            )
        ] if package_id == NEW else [],
        spent=story.spent(),
    )  # fmt: skip


def _picture(story: Story) -> lineage_schemas.PictureLineage:
    version = lineage_schemas.PictureInVersion(
        dataset_id=DATASET, created_at=story.now, use=PartUse.TRAIN, judgement=Judgement.DEFECTIVE,
        defect_class="<pit>", part="p-<7>", source=LabelSource.AUDIT, labelled_by=["anna", "<kim>"],
        labelled_at=story.now, is_confirmed=True, training_ids=["t-2"], package_ids=[NEW],
    )  # fmt: skip
    return lineage_schemas.PictureLineage(
        sha256=PICTURE, labels=[], inspections=["demo/line-1/st-1/2/7"],
        versions=[version, version.model_copy(update={"use": PartUse.HOLDOUT})],
        versions_looked_into=200, versions_of_product=231,
    )  # fmt: skip
