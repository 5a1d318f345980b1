# SPDX-License-Identifier: Apache-2.0
"""One package as a card: what it learnt from, what it promises, INT8 against FP32, why it was promoted or not.

HTML strings from shapes only. Called by the packages page.
"""

from datetime import tzinfo
from html import escape

from contracts.vocabulary import Variant
from dashboard import marks, panels, words
from dashboard.lifecycle import Package, Training, VariantMeasured


def package(item: Package, training: Training | None, zone: tzinfo) -> str:
    """The whole card. `training` is the one that made it, when it is known."""
    crown = marks.badge("champion", "good", "judges the parts of this product") if item.is_champion else ""
    evaluation = training.evaluation if training else None
    measured = {entry.variant: entry for entry in (evaluation.variants if evaluation else ())}
    rows = [
        _variant_row(v.variant, v.image_auroc, v.parity_error, measured.get(v.variant)) for v in item.manifest.variants
    ]
    lineage = item.manifest.lineage
    made = (
        f"{item.detector}, backbone {lineage.backbone} ({lineage.backbone_weights_source}), learnt from "
        f"{words.count(lineage.sound_parts)} sound and {words.count(lineage.defective_parts)} defective parts in "
        f"{words.seconds(lineage.training_seconds)}; {words.size(item.size_bytes)}"
    )
    return (
        f'<div class="sl-card"><div class="sl-station"><b>{escape(item.product)}</b>{marks.package(item.package_id)}'
        f"{crown}{marks.simulated(item.is_simulated)}"
        f'<span class="sl-right">made {escape(words.day_time(item.created_at, zone))}</span></div>'
        f'<div class="sl-below">{escape(made)}<br>{escape(panels.promise(item.manifest.limits))}</div>'
        f"{marks.table(('Variant', 'AUROC', 'INT8 against FP32', 'Time a part'), rows)}{_gate(item)}</div>"
    )


def _variant_row(
    variant: Variant, auroc: float | None, parity: float | None, measured: VariantMeasured | None
) -> tuple[str, ...]:
    speed = None if measured is None else measured.infer_p50_ms
    against = "reference" if variant is Variant.FP32 else words.NOT_KNOWN
    if parity is not None and variant is not Variant.FP32:
        against = f"score differs by at most {words.percent(parity)} of the margin"
    known = auroc if auroc is not None else (measured.image_auroc if measured else None)
    return (escape(variant.value), words.figure(known, 4), escape(against), words.milliseconds(speed))


def _gate(item: Package) -> str:
    decision = item.promotion
    if decision is None:
        return '<div class="sl-below" style="margin-top:.4rem">The promotion gate has not decided yet.</div>'
    passed, failed = '<i class="sl-v-ok">✓</i>', '<i class="sl-v-ng">✕</i>'
    checks = "".join(
        f'<div class="sl-check">{passed if check.is_passed else failed}'
        f"<span><b>{escape(check.name.replace('_', ' '))}</b> {escape(check.detail)}</span></div>"
        for check in decision.checks
    )
    against = f" against {marks.package(decision.champion_package_id)}" if decision.champion_package_id else ""
    return (
        f'<div style="margin-top:.55rem">{marks.state(decision.outcome)} <span class="sl-muted">by the promotion gate'
        f"{against}</span></div>{checks}"
    )
