# SPDX-License-Identifier: Apache-2.0
"""Wraps a foreign graph to our ends: what a picture goes through before it, and what becomes of its outputs.

The nodes before and after are ours, the foreign ones stay as they came, under names of their own, so that one file has
the signature of `contracts.manifest.GraphSignature`. What the graph really does is seen by running it on a picture, not
read from what it declares. Opens and writes no files. Called by `training`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnx.compose
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.errors import InputError, was_asked_to_stop
from models.graphs.features import INPUT_NAME, open_session
from models.graphs.foreign_ends import COLOUR_CELLS, PLANES, PREFIX, WHERE, box_cells, write_ends
from models.graphs.foreign_outputs import Asked, Choice, Seen, choose, told_outputs
from models.graphs.opening import Foreign, unknown_operators
from models.graphs.writer import FLOAT, UINT8, GraphWriter

Picture = NDArray[np.uint8]
INT64: Final = TensorProto.INT64
# As `contracts.manifest.GraphSignature` bounds them.
MIN_SIDE_PX: Final = 32
MAX_SIDE_PX: Final = 4096
# Of the largest value: an operator set that was raised must not change what comes out.
_MOST_RAISED_ERROR: Final = 1e-3
# Each copy costs as much as a picture.
_MOST_COPIES: Final = 8
# Of the border; what YOLO learns with.
_GREY: Final = 114.0
_INSIDE: Final = f"{PREFIX}inside/"


@dataclass(frozen=True)
class Preparation:
    """What a graph expects of its picture: (pixel ÷ `scale` − `mean`) ÷ `std`, in the order of its colours.

    `has_border`: the picture keeps its proportions, and grey fills the rest, as YOLO learns; else it is stretched.
    """

    is_rgb: bool = True
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    has_border: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether pixels are only divided."""
        return not any(self.mean) and all(each == 1 for each in self.std)


@dataclass(frozen=True)
class Wrapped:
    """A graph with our ends.

    Attributes:
        model: the whole.
        size_hw: px that the foreign graph sees.
        map_shape: cells of the heatmap.
        embedding_length: of the embedding.
        choice: which outputs were taken.
        has_one_batch: it takes one picture at a time only.
    """

    model: bytes
    size_hw: tuple[int, int]
    map_shape: tuple[int, int]
    embedding_length: int
    choice: Choice
    has_one_batch: bool


def wrap(
    foreign: Foreign,
    picture: Picture,
    *,
    size_hw: tuple[int, int] | None,
    prepared: Preparation,
    asked: Asked,
    is_falling: bool,
    threads: int,
) -> Wrapped:
    """Give a foreign graph our ends.

    Args:
        foreign: the opened file.
        picture: a sound part, uint8 BGR, on which the graph is tried.
        size_hw: px that it shall see; None: what its input says.
        prepared: what it expects of a picture.
        asked: what was said of its outputs.
        is_falling: its score falls with suspicion.
        threads: of the trial.

    Raises:
        InputError: it cannot run here, does not take the picture, or its outputs are not what was asked for.
    """
    is_planar = _is_planar(foreign)
    size_hw = _size(foreign, size_hw, is_planar=is_planar)
    front = _front(foreign, size_hw, prepared, is_planar=is_planar)
    copies = _copies(foreign)
    inner = _inner(foreign, copies)
    trial = _opened(_joined(front, inner, None), foreign, threads)
    seen = _run(trial, picture[None], foreign)
    _check_raised(foreign, front, picture, seen, threads)
    choice = choose(seen, asked, size_hw)
    if copies > 1:
        choice.notes.append(
            f"the graph takes {copies} pictures at once and nothing else: each is judged {copies} times over and takes "
            "as long; export it with a batch of 1, or an open one"
        )
    if is_falling and choice.boxes is not None:
        raise InputError("--sign: the confidence of a box rises with suspicion; leave the option out")
    has_one_batch = foreign.input_dims[0] is not None or not _takes_two(trial, picture, choice)
    map_shape = choice.map_shape if choice.boxes is None else box_cells(size_hw)
    length = 3 * COLOUR_CELLS**2 if choice.embedding is None else seen[choice.embedding].shape[1]
    ends = write_ends(
        choice, seen, size_hw, map_shape, is_falling=is_falling, batch=1 if has_one_batch else "n",
        has_border=prepared.has_border,
    )  # fmt: skip
    whole = _joined(front, inner, ends)
    whole.graph.input[0].CopyFrom(
        helper.make_tensor_value_info(INPUT_NAME, UINT8, [1 if has_one_batch else "n", "h", "w", 3])
    )
    wrapped = Wrapped(whole.SerializeToString(), size_hw, map_shape, int(length), choice, has_one_batch)
    _check_ends(_opened(whole, foreign, threads), wrapped, picture, foreign)
    return wrapped


def _is_planar(foreign: Foreign) -> bool:
    """Whether the colours come before height and width."""
    _, second, _, fourth = foreign.input_dims
    if second == 3 or (second is None and fourth is None):
        return True
    if fourth == 3:
        return False
    shape = [each or "?" for each in foreign.input_dims]
    raise InputError(
        f"{foreign.file_name}: expected an input of three colours, [n, 3, h, w] or [n, h, w, 3], got {shape}; export "
        "it for colour pictures"
    )


def _size(foreign: Foreign, asked: tuple[int, int] | None, *, is_planar: bool) -> tuple[int, int]:
    height, width = foreign.input_dims[2:] if is_planar else foreign.input_dims[1:3]
    if asked is not None:
        if height not in (None, asked[0]) or width not in (None, asked[1]):
            raise InputError(
                f"--size: {foreign.file_name} sees {width or 'any'} × {height or 'any'} px and nothing else, got "
                f"{asked[1]} × {asked[0]}; leave the option out"
            )
        return asked
    if height is None or width is None:
        raise InputError(f"--size: {foreign.file_name} takes any size; give the one it was trained with")
    if min(height, width) < MIN_SIDE_PX or max(height, width) > MAX_SIDE_PX:
        raise InputError(
            f"{foreign.file_name}: expected to see {MIN_SIDE_PX} … {MAX_SIDE_PX} px a side, got {width} × {height}; "
            "export it for another size"
        )
    return height, width


def _front(foreign: Foreign, size_hw: tuple[int, int], prepared: Preparation, *, is_planar: bool) -> onnx.ModelProto:
    """uint8 BGR [n, h, w, 3] to what the foreign graph takes, and the sized planes beside it."""
    writer = GraphWriter()
    writer.scope = "front/"
    image = writer.input(INPUT_NAME, UINT8, ["n", "h", "w", 3])
    planes = writer.op("Transpose", [writer.op("Cast", [image], to=FLOAT)], perm=[0, 3, 1, 2])
    if prepared.has_border:
        sized = _bordered(writer, planes, size_hw)
    else:
        sized = writer.resized(planes, *size_hw, is_antialiased=True)
    ready = writer.op("Gather", [sized, writer.constant([2, 1, 0])], axis=1) if prepared.is_rgb else sized
    if foreign.input_element == UINT8:
        if not prepared.is_plain:
            raise InputError(f"--mean, --std: {foreign.file_name} takes whole pixels, 0 … 255; leave them out")
        ready = writer.op("Round", [ready])
    else:
        ready = writer.op("Mul", [ready, writer.constant(1 / prepared.scale)])
        if not prepared.is_plain:
            mean, std = (np.array(each, np.float32).reshape(1, -1, 1, 1) for each in (prepared.mean, prepared.std))
            ready = writer.op("Div", [writer.op("Sub", [ready, writer.constant(mean)]), writer.constant(std)])
    if foreign.input_element != FLOAT:
        ready = writer.op("Cast", [ready], to=foreign.input_element)
    if not is_planar:
        ready = writer.op("Transpose", [ready], perm=[0, 2, 3, 1])
    writer.output(PLANES, sized, ["n", 3, *size_hw])
    writer.output(PREFIX + foreign.input_name, ready, ["n", "a", "b", "c"], foreign.input_element)
    return writer.model("front")


def _bordered(writer: GraphWriter, planes: str, size_hw: tuple[int, int]) -> str:
    """The picture in its own proportions, centred on grey; where it lies is shown as `WHERE`, px [start, end]."""
    wanted = writer.constant(np.array(size_hw, np.int64))
    sides = writer.op("Cast", [writer.op("Shape", [planes], start=2, end=4)], to=FLOAT)
    shares = writer.op("Div", [writer.constant(np.array(size_hw, np.float32)), sides])
    fitting = writer.op("Mul", [sides, writer.op("ReduceMin", [shares], keepdims=1)])
    inner = writer.op("Cast", [writer.op("Max", [writer.op("Round", [fitting]), writer.constant(1.0)])], to=INT64)
    sizes = writer.op("Concat", [writer.op("Shape", [planes], start=0, end=2), inner], axis=0)
    resized = writer.op(
        "Resize", [planes, "", "", sizes], mode="linear", antialias=1, coordinate_transformation_mode="half_pixel"
    )
    left_over = writer.op("Sub", [wanted, inner])
    start = writer.op("Div", [left_over, writer.constant([2])])
    none = writer.constant([0, 0])
    pads = writer.op("Concat", [none, start, none, writer.op("Sub", [left_over, start])], axis=0)
    padded = writer.op("Pad", [resized, pads, writer.constant(_GREY)])
    writer.output(WHERE, writer.op("Concat", [start, writer.op("Add", [start, inner])], axis=0), [4], INT64)
    return writer.op("Reshape", [padded, writer.constant([0, 3, *size_hw])])


def _copies(foreign: Foreign) -> int:
    """How many pictures the graph wants at once. Some exporters fix two, for they cannot leave one open."""
    copies = foreign.input_dims[0] or 1
    if copies > _MOST_COPIES:
        raise InputError(
            f"{foreign.file_name}: expected to take one picture at a time, got a fixed batch of {copies}; export it "
            "with a batch of 1"
        )
    return copies


def _inner(foreign: Foreign, copies: int) -> onnx.ModelProto:
    """The graph under names of its own, fed with so many copies of a picture; the first row of each output is shown.

    What it declares of shapes is dropped, for it need not be true.
    """
    inner = onnx.compose.add_prefix(foreign.model, _INSIDE)
    del inner.graph.value_info[:]
    source, entry = PREFIX + foreign.input_name, _INSIDE + foreign.input_name
    inner.graph.node.insert(0, helper.make_node("Concat", [source] * copies, [entry], name=f"{_INSIDE}fed", axis=0))
    row = [f"{PREFIX}row_{end}" for end in ("from", "to", "axis")]
    if copies > 1:
        ends = zip(row, (0, 1, 0), strict=True)
        inner.graph.initializer.extend(helper.make_tensor(name, TensorProto.INT64, [1], [end]) for name, end in ends)
    outputs = _shown(inner)
    for output in outputs:
        inside, output.name = output.name, PREFIX + output.name.removeprefix(_INSIDE)
        kind, inputs = ("Identity", [inside]) if copies == 1 else ("Slice", [inside, *row])
        inner.graph.node.append(helper.make_node(kind, inputs, [output.name], name=f"{output.name}/shown"))
    del inner.graph.output[:]
    inner.graph.output.extend(outputs)
    return inner


def _joined(front: onnx.ModelProto, inner: onnx.ModelProto, ends: onnx.ModelProto | None) -> onnx.ModelProto:
    """Front, foreign graph and ends in one; without ends all outputs of the foreign graph are shown."""
    parts = [front, inner] if ends is None else [front, inner, ends]
    outputs = list((inner if ends is None else ends).graph.output)
    graph = helper.make_graph(
        [node for part in parts for node in part.graph.node], "sightline", list(front.graph.input), outputs,
        [tensor for part in parts for tensor in part.graph.initializer],
        sparse_initializer=list(inner.graph.sparse_initializer),
    )  # fmt: skip
    versions = {entry.domain: entry.version for entry in front.opset_import}
    for entry in inner.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions[domain] = max(entry.version, versions.get(domain, 0))
    model = helper.make_model(
        graph, producer_name="sightline", opset_imports=[helper.make_opsetid(*each) for each in versions.items()]
    )
    model.ir_version = max(front.ir_version, inner.ir_version)
    return model


def _shown(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The outputs that are arrays, without what is declared of their shapes."""
    return [
        helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None)
        for value in model.graph.output
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type != TensorProto.STRING
    ]


def _opened(model: onnx.ModelProto, foreign: Foreign, threads: int) -> ort.InferenceSession:
    if not model.graph.output:
        raise InputError(f"{foreign.file_name}: expected arrays as outputs, got none; export it again")
    try:
        return open_session(model, threads)
    except Exception as error:  # ONNX Runtime raises a family of unrelated classes
        if was_asked_to_stop(error):
            raise
        strangers = unknown_operators(foreign.model)
        told = f" (operators that ONNX does not have: {', '.join(strangers[:5])})" if strangers else ""
        raise InputError(
            f"{foreign.file_name}: ONNX Runtime cannot open this graph{told}: {_short(error)}; export it with standard "
            "operators only"
        ) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _run(session: ort.InferenceSession, batch: NDArray[np.uint8], foreign: Foreign) -> Seen:
    names = [output.name for output in session.get_outputs()]
    try:
        values: Sequence[Any] = session.run(names, {INPUT_NAME: batch})
    except Exception as error:  # as above
        if was_asked_to_stop(error):
            raise
        raise InputError(
            f"{foreign.file_name}: the graph failed on a picture of {batch.shape[2]} × {batch.shape[1]} px: "
            f"{_short(error)}; try another --size, or export it again"
        ) from error
    return {name.removeprefix(PREFIX): np.asarray(value) for name, value in zip(names, values, strict=True)}


def _check_raised(foreign: Foreign, front: onnx.ModelProto, picture: Picture, seen: Seen, threads: int) -> None:
    """The graph as it came must give what the raised one gives."""
    if foreign.before is None:
        return
    first = _opened(front, foreign, threads)
    ready = first.run([PREFIX + foreign.input_name], {INPUT_NAME: picture[None]})[0]
    try:
        before = open_session(foreign.before, threads)
        fed = np.concatenate([ready] * _copies(foreign))
        values: Sequence[Any] = before.run(list(seen), {foreign.input_name: fed})
    except Exception as error:  # as above
        if was_asked_to_stop(error):
            raise
        raise InputError(
            f"{foreign.file_name}: the graph failed as it came: {_short(error)}; export it with opset 18 or later"
        ) from error
    for name, every in zip(seen, values, strict=True):
        value = np.asarray(every)[: len(seen[name])] if seen[name].ndim else np.asarray(every)
        allowed = _MOST_RAISED_ERROR * float(np.nanmax(np.abs(value.astype(np.float64)), initial=1e-6))
        if value.shape != seen[name].shape or not np.allclose(value, seen[name], rtol=0, atol=allowed, equal_nan=True):
            raise InputError(
                f"{foreign.file_name}: output {name} changes when the operator set is raised; export it with opset 18 "
                "or later"
            )


def _takes_two(session: ort.InferenceSession, picture: Picture, choice: Choice) -> bool:
    """Whether two pictures at once give twice the rows: a graph that says so need not do it."""
    names = [PREFIX + name for name in choice.names]
    try:
        values: Sequence[Any] = session.run(names, {INPUT_NAME: np.stack([picture, picture])})
    except Exception as error:  # as above
        if was_asked_to_stop(error):
            raise
        return False
    return all(np.ndim(value) > 0 and len(value) == 2 for value in values)


def _check_ends(session: ort.InferenceSession, wrapped: Wrapped, picture: Picture, foreign: Foreign) -> None:
    """What a station will check, checked here: shapes of the three outputs, finite numbers."""
    seen = _run(session, picture[None], foreign)
    expected = {"score": (1,), "heatmap": (1, *wrapped.map_shape), "embedding": (1, wrapped.embedding_length)}
    for name, shape in expected.items():
        if seen[name].shape != shape:
            raise InputError(
                f"{foreign.file_name}: expected {name} of shape {list(shape)}, got {list(seen[name].shape)} from "
                f"{told_outputs(seen)}; give --score and --heatmap"
            )
        if not np.isfinite(seen[name]).all():
            raise InputError(
                f"{foreign.file_name}: expected numbers as {name}, got NaN or infinity on a sound picture; check "
                "--scale, --mean and --std, or export it again"
            )
