# SPDX-License-Identifier: Apache-2.0
"""`report.html`: what a training came to, on one page that needs nothing else, for the people who answer for quality.

Figures are those of `evaluation.json`, with their denominators and exact intervals; nothing is measured anew but the
heatmaps. Text from outside (names of files, products, defects) is escaped, and the page forbids itself every script and
every address. Called by `training.commands`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from contracts.jobs import EvaluationReport, HoldoutVerdict, TrainingJob
from contracts.vocabulary import Judgement, PartUse, Verdict
from models.measuring.figures import rate_of
from models.packages.reading import OpenPackage
from models.reporting.curves import recall_curve, score_histogram
from models.reporting.page_tables import (
    HELD,
    MOST_CLASSES,
    classes_section,
    count_of,
    interval,
    names_section,
    of_judgement,
    safe,
    search_section,
    table,
    variants_section,
)
from models.reporting.pictures import MOST_SHOWN, Illustrator, Shown, choose_worst
from models.settings import Settings
from models.wording import counted

REPORT_PAGE: Final = "report.html"
_MOST_LINES: Final = 500
# Green only when the interval ends below this share.
_GOOD_UP_TO: Final = 0.05
_STYLE: Final = """
:root{color:#14202e;background:#f4f6f9;font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
body{max-width:1080px;margin:0 auto;padding:28px 24px 60px}
h1{font-size:1.7rem;margin:0;letter-spacing:-.01em}h2{font-size:1.12rem;margin:34px 0 10px}
p{margin:.3em 0}.muted{color:#5d6b7a;font-size:.86rem}.lead{color:#3d4a59}
.card{background:#fff;border:1px solid #dfe5ec;border-radius:10px;padding:14px 18px;margin:0 0 14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(215px,1fr));gap:14px}.tiles .card{margin:0}
.label{font-size:.82rem;color:#5d6b7a;font-weight:600}.value{font-size:1.75rem;font-weight:650;line-height:1.3}
.bad{border-left:5px solid #c8420b}.warn{border-left:5px solid #dd9b00}.good{border-left:5px solid #0b8f6f}
.idle{border-left:5px solid #b4bfcb}.unknown{color:#7a8795}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:4px 10px;border-bottom:1px solid #edf0f4;vertical-align:top}
th:first-child,td:first-child{text-align:left;white-space:nowrap}th{font-size:.8rem;color:#5d6b7a;font-weight:600}
td.text{text-align:left;overflow-wrap:anywhere}code{font-size:.82rem;overflow-wrap:anywhere}
svg{width:100%;height:auto;display:block}.scroll{overflow-x:auto}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:14px}
figure{margin:0;background:#fff;border:1px solid #dfe5ec;border-radius:10px;padding:10px;break-inside:avoid}
figure div{display:grid;grid-template-columns:1fr 1fr;gap:6px}
figure img{width:100%;max-height:220px;object-fit:contain;background:#14202e;border-radius:4px}
figcaption{font-size:.82rem;margin-top:6px;overflow-wrap:anywhere}
ul{margin:.2em 0;padding-left:1.2em}li{overflow-wrap:anywhere;margin:.15em 0}summary{cursor:pointer}
.badge{background:#6a3fb5;color:#fff;border-radius:99px;padding:1px 10px;font-size:.75rem;font-weight:650;
 vertical-align:middle;text-transform:uppercase;letter-spacing:.04em}
@media print{:root{background:#fff}body{padding:0}.card,figure{border-color:#b4bfcb}}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_page(job: TrainingJob, report: EvaluationReport, package: OpenPackage, settings: Settings) -> str:
    """The page as HTML.

    Args:
        job: what was asked; its pictures are read again where they are shown.
        report: what came of it.
        package: the package that the training wrote.
        settings: bounds of a picture.
    """
    title = f"Training of {report.product}"
    sections = [
        _head(report, package, title),
        _verdicts(report),
        _curves(report, package),
        _pictures(job, report, package, settings),
        classes_section(report),
        names_section(report, package),
        variants_section(report),
        search_section(report),
        _material(job, report),
        _list_section("Notes", report.notes, "Nothing to note."),
        _list_section("Left out", report.left_out, "Nothing was left out."),
        _lineage(report, package),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{safe(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _head(report: EvaluationReport, package: OpenPackage, title: str) -> str:
    badge = ' <span class="badge">simulated</span>' if report.is_simulated else ""
    return (
        f"<h1>{safe(title)}{badge}</h1>"
        f'<p class="lead">Package <code>{safe(package.package_id[:12])}</code>, '
        f"{package.manifest.created_at:%Y-%m-%d %H:%M} UTC. {safe(str(report.detector).capitalize())} detector on "
        f"{safe(report.backbone)}. All figures are of held-out pictures that nothing was learnt from, judged by "
        f"variant {safe(report.candidate_variant)} at the limits that the package carries.</p>"
    )


def _verdicts(report: EvaluationReport) -> str:
    defective, sound = of_judgement(report.holdout, Judgement.DEFECTIVE), of_judgement(report.holdout, Judgement.GOOD)
    escapes, overkills = count_of(defective, Verdict.OK), count_of(sound, Verdict.NG)
    tiles = [
        _tile("Escapes: defective, judged OK", "defective", defective, (Verdict.OK,), "bad" if escapes else ""),
        _tile("Overkill: sound, judged NG", "sound", sound, (Verdict.NG,), "warn" if overkills else ""),
        _tile("Held for review, sound", "sound", sound, HELD, "idle"),
        _tile("Held for review, defective", "defective", defective, HELD, "idle"),
    ]
    groups = {verdict.group for verdict in report.holdout}
    told = (
        '<p class="muted">Held-out pictures are no random sample of production: these rates say how the package '
        "judges pictures like these, not how many parts will escape on the line. Intervals are exact (Clopper and "
        "Pearson), 95 %"
    )
    if len(groups) < len(report.holdout):
        told += (
            f"; those of pictures take them for independent, but {counted(len(report.holdout), 'picture')} show "
            f"{counted(len(groups), 'part')} or groups: go by those of parts, where a part counts by its worst picture"
        )
    undecided = count_of(report.holdout, Verdict.NO_DECISION)
    told += f". {counted(undecided, 'picture')} got no score.</p>" if undecided else ".</p>"
    return f"<h2>At the package's limits</h2><div class='tiles'>{''.join(tiles)}</div>{told}"


def _tile(label: str, what: str, pictures: Sequence[HoldoutVerdict], verdicts: Sequence[Verdict], edge: str) -> str:
    """How many of the pictures got one of the verdicts, and of the parts where those are fewer."""
    if not pictures:
        return (
            f'<div class="card idle"><div class="label">{label}</div><div class="value unknown">not known</div>'
            f'<div class="muted">no {what} pictures were held out</div></div>'
        )
    rate = rate_of(count_of(pictures, *verdicts), len(pictures))
    hit = {each.group for each in pictures if each.candidate_verdict in verdicts}
    parts = rate_of(len(hit), len({each.group for each in pictures}))
    # None of a few is no good news yet, nor is it of many pictures of a few parts.
    edge = edge or ("good" if parts["high"] <= _GOOD_UP_TO else "idle")
    of_parts = ""
    if parts["of"] < rate["of"]:
        told = interval(parts["low"], parts["high"])
        of_parts = f"<br>{parts['count']} of {counted(parts['of'], 'part')}<br>95 % interval {told}"
    return (
        f'<div class="card {edge}"><div class="label">{label}</div>'
        f'<div class="value">{100 * rate["rate"]:.1f} %</div>'
        f'<div class="muted">{rate["count"]} of {counted(rate["of"], f"{what} picture")}<br>'
        f"95 % interval {interval(rate['low'], rate['high'])}{of_parts}</div></div>"
    )


def _curves(report: EvaluationReport, package: OpenPackage) -> str:
    limits = package.manifest.limits
    scores = np.array([verdict.candidate_score for verdict in report.holdout], np.float64)
    is_defective = np.array([verdict.judgement is Judgement.DEFECTIVE for verdict in report.holdout], np.bool_)
    if len(scores) == 0:
        return '<h2>Scores</h2><p class="card">No held-out pictures: nothing to draw.</p>'
    drawn = score_histogram(
        scores[~is_defective], scores[is_defective], ok_limit=limits.ok_limit, ng_limit=limits.ng_limit
    )
    told = (
        "Below the OK limit a part passes, from the NG limit on it is rejected, in between a person decides. Defective "
        "bars left of the OK limit are escapes; sound bars right of the NG limit are overkill."
    )
    parts = [f'<h2>Scores and limits</h2><div class="card">{drawn}<p class="muted">{told}</p></div>']
    if is_defective.any() and not is_defective.all():
        curve = recall_curve(scores, is_defective, ok_limit=limits.ok_limit, ng_limit=limits.ng_limit)
        parts.append(
            f'<h2>What another limit would do</h2><div class="card">{curve}<p class="muted">Every point is a limit: '
            "how many of the defective pictures it would catch, at the price of how many sound ones. The lower axis is "
            "stretched at the left.</p></div>"
        )
    promises = [each for each in (limits.overkill, limits.escapes) if each is not None]
    parts += [f'<p class="card">Promise: {safe(promise.statement)}</p>' for promise in promises]
    return "".join(parts)


def _pictures(job: TrainingJob, report: EvaluationReport, package: OpenPackage, settings: Settings) -> str:
    worst = choose_worst(report.holdout)
    sound = [each.candidate_score for each in of_judgement(report.holdout, Judgement.GOOD)]
    limits = package.manifest.limits
    typical = float(np.median(sound)) if sound else min(limits.ok_limit, limits.ng_limit - 1e-6)
    artist = Illustrator(package, report.candidate_variant, job.images, settings, typical)
    defective = of_judgement(report.holdout, Judgement.DEFECTIVE)
    parts = ["<h2>Worst escapes</h2>"]
    escapes, overkills = (
        count_of(defective, Verdict.OK),
        count_of(of_judgement(report.holdout, Judgement.GOOD), Verdict.NG),
    )
    if worst.escapes:
        parts += [_first_of(escapes, "lowest score first"), _pairs(artist.draw(worst.escapes))]
    elif worst.nearest_escapes:
        parts += [
            (
                f'<p class="muted">None of {counted(len(defective), "defective picture")} was judged OK. '
                "These came nearest:</p>"
            ),
            _pairs(artist.draw(worst.nearest_escapes)),
        ]
    else:
        parts.append('<p class="card">No defective pictures were held out: escapes are not known.</p>')
    parts.append("<h2>Worst overkills</h2>")
    if worst.overkills:
        parts += [_first_of(overkills, "highest score first"), _pairs(artist.draw(worst.overkills))]
    elif worst.nearest_overkills:
        parts += [
            f'<p class="muted">None of {counted(len(sound), "sound picture")} was judged NG. These came nearest:</p>',
            _pairs(artist.draw(worst.nearest_overkills)),
        ]
    else:
        parts.append('<p class="card">No sound pictures were held out: overkill is not known.</p>')
    parts.append(
        '<p class="muted">Right: the same picture under the heatmap. Colour begins at the score of a typical sound '
        "picture and is full from the NG limit on. Left: outlined in blue is what a person marked as the defect, where "
        "a mask was given.</p>"
    )
    return "".join(parts)


def _first_of(count: int, order: str) -> str:
    return f'<p class="muted">{min(count, MOST_SHOWN)} of {count}, {order}.</p>'


def _pairs(shown: Sequence[Shown]) -> str:
    if not shown:
        return '<p class="card">The pictures cannot be read any more.</p>'
    figures = []
    for each in shown:
        name, verdict = safe(each.name), each.verdict
        kind = f"{safe(verdict.defect_class)}, " if verdict.defect_class else ""
        figures.append(
            f'<figure><div><img alt="{name}" src="data:image/jpeg;base64,{each.plain}">'
            f'<img alt="heatmap of {name}" src="data:image/jpeg;base64,{each.heated}"></div>'
            f"<figcaption><b>{name}</b><br>{kind}score {verdict.candidate_score:.3g}, judged "
            f"{safe(verdict.candidate_verdict)}</figcaption></figure>"
        )
    return f'<div class="pairs">{"".join(figures)}</div>'


def _material(job: TrainingJob, report: EvaluationReport) -> str:
    kinds = (Judgement.GOOD, Judgement.DEFECTIVE)
    given = Counter((image.use, image.judgement) for image in job.images)
    rows: list[list[object]] = [
        ["given to train", *(given[PartUse.TRAIN, each] for each in kinds)],
        ["used to train", report.train_good, report.train_defective],
        ["given to hold out", *(given[PartUse.HOLDOUT, each] for each in kinds)],
        ["held out and judged", *(len(of_judgement(report.holdout, each)) for each in kinds)],
    ]
    named = Counter(
        image.defect_class or "unnamed"
        for image in job.images
        if image.use is PartUse.TRAIN and image.judgement is Judgement.DEFECTIVE
    )
    classes = ", ".join(f"{safe(name)} {count}" for name, count in named.most_common(MOST_CLASSES)) or "none"
    groups = {use: len({image.group for image in job.images if image.use is use}) for use in PartUse}
    return (
        f"<h2>Trained on</h2>{table(['pictures', 'sound', 'defective'], rows)}"
        f'<p class="muted">Physical parts or groups given: {groups[PartUse.TRAIN]} to train, {groups[PartUse.HOLDOUT]} '
        f"to hold out; none stands on both sides. Defects given to train: {classes}.</p>"
    )


def _list_section(title: str, lines: Sequence[str], empty: str) -> str:
    if not lines:
        return f'<h2>{title}</h2><p class="card">{empty}</p>'
    items = "".join(f"<li>{safe(line)}</li>" for line in lines[:_MOST_LINES])
    if len(lines) > _MOST_LINES:
        items += f"<li>and {len(lines) - _MOST_LINES} more; all of them are in report.json</li>"
    listed = f"<ul>{items}</ul>"
    if len(lines) > 12:
        listed = f"<details><summary>{len(lines)} lines</summary>{listed}</details>"
    return f'<h2>{title} ({len(lines)})</h2><div class="card">{listed}</div>'


def _field(package: OpenPackage) -> str:
    graph = package.manifest.graph
    told = f"{graph.model_width_px} × {graph.model_height_px} px"
    if graph.tiles.count == 1:
        return told
    side = graph.model_height_px // graph.tiles.rows
    return f"{told}, {graph.tiles.rows} rows × {graph.tiles.columns} columns of tiles of {side} px"


def _lineage(report: EvaluationReport, package: OpenPackage) -> str:
    manifest = package.manifest
    lineage, limits = manifest.lineage, manifest.limits
    rows: list[tuple[str, object]] = [
        ("package", package.package_id),
        ("training", lineage.training_id),
        ("follows package", lineage.parent_package_id or "none"),
        ("training pictures, SHA-256", lineage.dataset_sha256),
        ("backbone", f"{lineage.backbone}, {lineage.backbone_weights_source}"),
        ("weights, SHA-256", lineage.backbone_weights_sha256),
        ("field of the model", _field(package)),
        ("seed", lineage.seed),
        ("trainer", f"sightline {lineage.trainer_version}, {report.training_seconds:.0f} s"),
        ("limits", f"OK below {limits.ok_limit:.4g}, NG from {limits.ng_limit:.4g}"),
        ("rule of the limits", limits.rule),
        ("golden images", f"{manifest.golden.images}, tolerance {manifest.golden.tolerance:.3g}"),
    ]
    body = "".join(f'<tr><td>{told}</td><td class="text"><code>{safe(value)}</code></td></tr>' for told, value in rows)
    return f'<h2>Where it comes from</h2><div class="card scroll"><table>{body}</table></div>'
