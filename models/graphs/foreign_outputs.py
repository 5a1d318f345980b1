# SPDX-License-Identifier: Apache-2.0
"""Which outputs of a foreign graph tell of defects, by their names and by the shapes that they really had. Pure.

| kind | what is looked for |
|---|---|
| scores | one number a picture, and a map of it: anomalib's `pred_score` and `anomaly_map` |
| boxes | [1, 4 + classes, boxes] (YOLO from v8 on) or [1, boxes, 5 + classes] (v5: the fifth is objectness) |

What cannot be told is never guessed: the error lists the outputs. Runs nothing and writes no nodes. Called by
`foreign`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError

KINDS: Final = ("auto", "scores", "boxes")
_SCORE_NAMES: Final = ("pred_score", "pred_scores", "anomaly_score", "image_score", "score")
_MAP_NAMES: Final = ("anomaly_map", "anomaly_maps", "heatmap", "score_map")
_EMBEDDING_NAMES: Final = ("embedding", "embeddings", "features")
_MOST_EMBEDDING: Final = 8192
_MOST_MAP_PX: Final = 4096
# A detector of boxes looks at its picture in cells of these sides.
_STRIDES_PX: Final = (8, 16, 32)
_ANCHORS_A_CELL: Final = 3
_FEWEST_FIELDS: Final = 5
_HAIR: Final = 1e-3
# A detector that sorts its boxes out itself keeps so many at most.
_MOST_KEPT: Final = 300
# Centres that all lie below this are shares of the picture, not pixels.
_MOST_RELATIVE: Final = 1.5


@dataclass(frozen=True)
class Asked:
    """What a person said of the outputs; `score` may be `NAME:COLUMN` for an output with several numbers a picture."""

    kind: str = "auto"
    score: str | None = None
    heatmap: str | None = None


@dataclass(frozen=True)
class Boxes:
    """How to read an output with boxes: which axis counts them, and what stands in their fields.

    `unit_px`: what a coordinate of 1 means, height and width.
    """

    is_fields_first: bool
    has_objectness: bool
    classes: int
    count: int
    unit_px: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Choice:
    """What is taken for what. `score` None: the highest value of the heatmap; `heatmap` None: the score everywhere."""

    score: str | None
    column: int = 0
    heatmap: str | None = None
    map_shape: tuple[int, int] = (1, 1)
    embedding: str | None = None
    boxes: Boxes | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The outputs that are taken, each once."""
        return list(dict.fromkeys(name for name in (self.score, self.heatmap, self.embedding) if name is not None))


Seen = dict[str, NDArray[Any]]


def choose(seen: Seen, asked: Asked, size_hw: tuple[int, int]) -> Choice:
    """Tell the outputs apart.

    Args:
        seen: what the graph gave for one picture, by name, with the batch of 1.
        asked: overrules names and shapes.
        size_hw: px that the graph sees.

    Raises:
        InputError: cannot be told, or what was asked for is not there or not fit; lists the outputs.
    """
    if asked.kind not in KINDS:
        raise InputError(f"--kind: expected one of {', '.join(KINDS)}, got {asked.kind!r}")
    found = _boxes_by_count(seen, size_hw) if asked.kind == "auto" else []
    is_named = asked.score is not None or asked.heatmap is not None
    is_boxes = not is_named and len(found) == 1 and not _single_numbers(seen)
    if asked.kind == "boxes" or is_boxes:
        choice = _with_boxes(seen, asked, size_hw)
    else:
        choice = _with_scores(seen, asked, size_hw)
    fit = [name for name in _EMBEDDING_NAMES if name in seen and _is_embedding(seen[name])]
    if fit and fit[0] not in choice.names:
        choice.notes.append(f"embedding: output {fit[0]}")
        return Choice(choice.score, choice.column, choice.heatmap, choice.map_shape, fit[0], choice.boxes, choice.notes)
    choice.notes.append("embedding: the graph has none; colours of the picture on a coarse grid stand in for it")
    return choice


def told_outputs(seen: Seen) -> str:
    """The outputs with their shapes, for a message."""
    return ", ".join(f"{name} {values.dtype} {list(values.shape)}" for name, values in seen.items())


def _cannot(seen: Seen, what: str, remedy: str) -> InputError:
    return InputError(f"outputs: {what} among {told_outputs(seen)}; {remedy}")


def _is_float(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "f"


def _is_embedding(values: NDArray[Any]) -> bool:
    return _is_float(values) and values.ndim == 2 and len(values) == 1 and 1 < values.shape[1] <= _MOST_EMBEDDING


def _single_numbers(seen: Seen) -> list[str]:
    return [name for name, values in seen.items() if _is_float(values) and values.size == 1]


def _map_shape(values: NDArray[Any]) -> tuple[int, int] | None:
    """Height and width of a map of one channel, [1, h, w], [1, 1, h, w] or [1, h, w, 1]; None: it is none."""
    shape = values.shape
    if values.ndim == 4 and shape[0] == 1 and 1 in (shape[1], shape[3]):
        shape = (1, shape[2], shape[3]) if shape[1] == 1 else shape[:3]
    if len(shape) != 3 or shape[0] != 1 or not _is_float(values):
        return None
    return (shape[1], shape[2]) if min(shape[1:]) > 1 and max(shape[1:]) <= _MOST_MAP_PX else None


def _with_scores(seen: Seen, asked: Asked, size_hw: tuple[int, int]) -> Choice:
    notes: list[str] = []
    score, column = _asked_score(seen, asked.score) if asked.score is not None else (_found_score(seen), 0)
    heatmap = asked.heatmap
    if heatmap is not None:
        _present(seen, heatmap, "--heatmap")
        if _map_shape(seen[heatmap]) is None:
            raise _cannot(seen, f"--heatmap {heatmap} is no map of one channel", "give another one, or none")
    else:
        heatmap = _found_map(seen, size_hw, but=score)
    if score is None and heatmap is None:
        raise _cannot(
            seen, "cannot tell which is the score (one number a picture) or its map",
            "give --score NAME (NAME:COLUMN where it has several numbers), --heatmap NAME or --kind boxes",
        )  # fmt: skip
    if score is None:
        notes.append(f"score: the highest value of output {heatmap}; no output has one number a picture")
    else:
        notes.append(f"score: output {score}" + (f", column {column}" if seen[score].size > 1 else ""))
    shape = None if heatmap is None else _map_shape(seen[heatmap])
    if heatmap is None or shape is None:
        notes.append("heatmap: no output is one; the score stands for the whole picture")
        return Choice(score, column, notes=notes)
    notes.append(f"heatmap: output {heatmap}, {shape[1]} × {shape[0]}; taken to be on the score's scale")
    return Choice(score, column, heatmap, shape, notes=notes)


def _present(seen: Seen, name: str, option: str) -> None:
    if name not in seen:
        raise _cannot(seen, f"{option} {name!r} is not", "give one of these names")


def _asked_score(seen: Seen, asked: str) -> tuple[str, int]:
    name, _, column = asked.rpartition(":") if asked not in seen and ":" in asked else (asked, "", "")
    _present(seen, name, "--score")
    shape, size = seen[name].shape, seen[name].size
    if column == "" and size == 1:
        return name, 0
    if not column.isdecimal() or int(column) >= size or len(shape) < 2 or shape[1] != size:
        raise _cannot(
            seen, f"--score {asked} is not one number a picture", f"for one of several numbers give {name}:COLUMN"
        )
    return name, int(column)


def _found_score(seen: Seen) -> str | None:
    """By its name; by its shape when just one has it."""
    single = _single_numbers(seen)
    named = [name for name in _SCORE_NAMES if name in single]
    if not named and len(single) > 1:
        raise _cannot(seen, f"cannot tell which of {', '.join(single)} is the score", "give --score NAME")
    return named[0] if named else single[0] if single else None


def _found_map(seen: Seen, size_hw: tuple[int, int], *, but: str | None) -> str | None:
    """By its name; by its shape when just one has it: of one channel, and of the picture's proportions."""
    maps = {name: shape for name, values in seen.items() if name != but and (shape := _map_shape(values)) is not None}
    named = [name for name in _MAP_NAMES if name in maps]
    if named:
        return named[0]
    fit = [
        name
        for name, shape in maps.items()
        if seen[name].ndim == 4 or abs(shape[0] / shape[1] - size_hw[0] / size_hw[1]) < _HAIR
    ]
    if len(fit) > 1:
        raise _cannot(seen, f"cannot tell which of {', '.join(fit)} is the heatmap", "give --heatmap NAME")
    return fit[0] if fit else None


def _boxes_of_grid(size_hw: tuple[int, int]) -> int:
    return sum((size_hw[0] // stride) * (size_hw[1] // stride) for stride in _STRIDES_PX)


def _could_be_boxes(values: NDArray[Any]) -> bool:
    shape = values.shape
    return _is_float(values) and values.ndim == 3 and shape[0] == 1 and min(shape[1:]) >= _FEWEST_FIELDS


def _boxes_by_count(seen: Seen, size_hw: tuple[int, int]) -> list[str]:
    """Outputs with just as many rows as a detector of boxes has places in a picture of this size."""
    places = _boxes_of_grid(size_hw)
    counts = {places, places * _ANCHORS_A_CELL}
    return [
        name for name, values in seen.items() if _could_be_boxes(values) and not counts.isdisjoint(values.shape[1:])
    ]


def _with_boxes(seen: Seen, asked: Asked, size_hw: tuple[int, int]) -> Choice:
    if asked.heatmap is not None:
        raise InputError("--heatmap: boxes draw their own heatmap; leave it out, or give --kind scores")
    if asked.score is not None:
        _present(seen, asked.score, "--score")
    fit = [name for name, values in seen.items() if _could_be_boxes(values) and asked.score in (None, name)]
    if len(fit) > 1:
        by_count = _boxes_by_count(seen, size_hw)
        fit = by_count if len(by_count) == 1 else fit
    if len(fit) != 1:
        expected = "expected one output [1, 4 + classes, boxes] or [1, boxes, 5 + classes], got "
        raise _cannot(seen, expected + ("none" if not fit else f"{len(fit)}"), "name it with --score, or --kind scores")
    (name,) = fit
    values = seen[name][0].astype(np.float32)
    is_fields_first = _is_fields_first(values, size_hw)
    rows = values.T if is_fields_first else values
    count, fields = rows.shape
    if not is_fields_first and fields == _FEWEST_FIELDS + 1 and count <= _MOST_KEPT:
        raise _cannot(
            seen, f"{name} looks like boxes that were sorted out already (x1, y1, x2, y2, score, class)",
            "export it without non-maximum suppression (nms=False, end2end=False)",
        )  # fmt: skip
    first = 4 + (not is_fields_first)
    masks = _mask_fields(seen, but=name)
    classes = fields - first - masks
    if classes < 1:
        raise _cannot(seen, f"{name} has {fields} fields a box, too few for {first} and a class", "give --kind scores")
    certain = rows[:, 4 : first + classes]
    if not np.isfinite(certain).all() or certain.min() < -_HAIR or certain.max() > 1 + _HAIR:
        raise _cannot(
            seen, f"{name}: confidences of 0 … 1 behind the coordinates are not",
            "export the detector with its last layer, or check the axes",
        )  # fmt: skip
    is_relative = float(np.abs(rows[:, :2]).max()) <= _MOST_RELATIVE
    unit_px = (float(size_hw[0]), float(size_hw[1])) if is_relative else (1.0, 1.0)
    version = "v8 on" if is_fields_first else "v5"
    notes = [
        f"score: output {name}, {count} boxes of {classes} classes (as YOLO {version}), the highest confidence",
        "heatmap: the boxes' places with their confidence",
    ]
    if masks:
        notes.append(f"outlines: the last {masks} fields of a box belong to its outline and are not used")
    return Choice(name, boxes=Boxes(is_fields_first, not is_fields_first, classes, count, unit_px), notes=notes)


def _is_fields_first(values: NDArray[np.float32], size_hw: tuple[int, int]) -> bool:
    """Whether the first axis holds the fields: by the count of boxes, else the shorter axis does."""
    places = _boxes_of_grid(size_hw)
    counts = (places, places * _ANCHORS_A_CELL)
    is_first, is_second = values.shape[0] in counts, values.shape[1] in counts
    return is_second if is_first != is_second else values.shape[0] < values.shape[1]


def _mask_fields(seen: Seen, *, but: str) -> int:
    """How many fields of a box are weights of outlines, which a second output [1, m, h, w] holds."""
    planes: Sequence[int] = [
        values.shape[1] for name, values in seen.items() if name != but and values.ndim == 4 and values.shape[1] > 1
    ]
    return planes[0] if len(planes) == 1 else 0
