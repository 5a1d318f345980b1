# SPDX-License-Identifier: Apache-2.0
"""Opens an ONNX file from outside with bounds, and brings it into a form that can be joined to our own nodes.

The file and its weights beside it are at most so large; weights are taken from the file's own folder only, or a file
sent by somebody could make us pack any other file of this machine. Local functions are unfolded and old operator sets
raised to ours. Runs nothing and knows no pictures. Called by `training.import_command`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import onnx
import onnx.inliner
import onnx.version_converter
from onnx import TensorProto

from models.data.pictures import read_bytes, told
from models.errors import InputError
from models.graphs.writer import FLOAT, OPSET, UINT8

_PICTURE_ELEMENTS: Final = {FLOAT: "float32", TensorProto.FLOAT16: "float16", UINT8: "uint8"}
_STANDARD: Final = frozenset({"", "ai.onnx"})
_ANOTHER_EXPORT: Final = "export it again with opset 18 or later"


@dataclass(frozen=True)
class Foreign:
    """An ONNX graph from outside, whole and joinable.

    Attributes:
        model: with all weights inside, without local functions, of operator set `OPSET` or later.
        before: the graph as it came, where its operator set had to be raised; the two must agree.
        input_name: its one input.
        input_element: element type of that.
        input_dims: its dimensions; None where the graph leaves one open.
        file_name: where it came from.
        sha256: of that file; with weights beside it, of the digests of all.
        notes: what was done to it.
    """

    model: onnx.ModelProto
    before: onnx.ModelProto | None
    input_name: str
    input_element: int
    input_dims: tuple[int | None, ...]
    file_name: str
    sha256: str
    notes: list[str] = field(default_factory=list)


def open_foreign(path: Path, *, most_bytes: int) -> Foreign:
    """Read an ONNX file.

    Args:
        path: the file.
        most_bytes: bound of the file and of the weights beside it, together.

    Raises:
        InputError: missing, too large, not ONNX, weights outside its folder, more than one input, or an input that is
            no picture; says what to do.
    """
    content = read_bytes(path, most_bytes, what="an ONNX file")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's own, which has no types
        raise InputError(f"{told(path)}: not an ONNX file, or it breaks off before its end; export it again") from error
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{told(path)}: expected an ONNX graph with nodes and outputs, got none; export it again")
    digests = [hashlib.sha256(content).hexdigest()]
    notes = []
    for location, digest in _take_weights(model, path, most_bytes - len(content)).items():
        digests.append(digest)
        notes.append(f"weights were taken from {location} beside the graph, SHA-256 {digest}")
    sha256 = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
    if model.functions:
        model = _done(path, "its local functions cannot be unfolded", onnx.inliner.inline_local_functions, model)
    name, element, dims = _picture_input(model, path)
    before: onnx.ModelProto | None = None
    opset = _opset(model)
    if opset < OPSET:
        before, unraised = model, f"its operator set {opset} cannot be raised to {OPSET}"
        model = _done(path, unraised, onnx.version_converter.convert_version, model, OPSET)
        notes.append(f"operator set {opset} was raised to {OPSET}, and its outputs compared on a picture")
    return Foreign(model, before, name, element, dims, path.name, sha256, notes)


def _done(path: Path, fault: str, change: Any, *arguments: Any) -> onnx.ModelProto:
    try:
        changed: onnx.ModelProto = change(*arguments)
    except Exception as error:  # onnx raises a family of unrelated classes
        raise InputError(f"{told(path)}: {fault} ({_first_line(error)}); {_ANOTHER_EXPORT}") from error
    return changed


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=OPSET)


def unknown_operators(model: onnx.ModelProto) -> list[str]:
    """Operators that the ONNX standard does not have, as `domain:name`; a runtime may know some of them."""
    found = {
        f"{node.domain or 'ai.onnx'}:{node.op_type}"
        for node in _nodes(model.graph.node)
        if not onnx.defs.has(node.op_type, "" if node.domain in _STANDARD else node.domain)
    }
    return sorted(found)


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes and those of their inner graphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model, wherever it stands."""
    every = [*_nodes(model.graph.node), *(node for each in model.functions for node in _nodes(each.node))]
    graphs = [model.graph]
    for node in every:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs += [attribute.g, *attribute.graphs]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def _take_weights(model: onnx.ModelProto, path: Path, left_bytes: int) -> dict[str, str]:
    """Bring weights that lie in files beside the graph into it; returns the SHA-256 of each file."""
    contents: dict[str, bytes] = {}
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in contents:
            contents[location] = read_bytes(_beside(path, location), left_bytes, what="the graph's weights")
            left_bytes -= len(contents[location])
        content = contents[location]
        try:
            start = int(entries.get("offset", 0))
            end = start + int(entries.get("length", len(content) - start))
        except ValueError:
            start = end = -1
        if not 0 <= start <= end <= len(content):
            raise InputError(
                f"{told(path)}: weights {tensor.name[:60]!r} lie beyond the end of {location!r}; copy both files again"
            )
        tensor.raw_data = content[start:end]
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT
    return {name: hashlib.sha256(each).hexdigest() for name, each in sorted(contents.items())}


def _beside(path: Path, location: str) -> Path:
    """The file of weights; a link, or a way up, that leads out of the graph's folder is refused."""
    folder = path.resolve().parent
    try:
        # An absolute location replaces the folder, and is refused with the rest.
        target = (folder / location).resolve()
    except (OSError, ValueError):
        target = folder
    if not location or target == folder or not target.is_relative_to(folder):
        raise InputError(
            f"{told(path)}: expected weights in its own folder, got them at {location!r}; export it into one file, or "
            "put its weights beside it"
        )
    return target


def _picture_input(model: onnx.ModelProto, path: Path) -> tuple[str, int, tuple[int | None, ...]]:
    constants = {tensor.name for tensor in model.graph.initializer}
    # Graphs of before IR version 4 list their weights as inputs too.
    inputs = [value for value in model.graph.input if value.name not in constants]
    described = ", ".join(_told_input(value) for value in inputs) or "none"
    if len(inputs) != 1:
        raise InputError(
            f"{told(path)}: expected one input, the picture, got {len(inputs)}: {described}; export it so that the "
            "picture is its only input"
        )
    (value,) = inputs
    kind = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim)
    if kind.elem_type not in _PICTURE_ELEMENTS or len(dims) != 4:
        raise InputError(
            f"{told(path)}: expected an input of four dimensions, of {', '.join(_PICTURE_ELEMENTS.values())}, got "
            f"{described}; export it so that it takes pictures"
        )
    return value.name, kind.elem_type, dims


def _told_input(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    names = [str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim]
    element = TensorProto.DataType.Name(kind.elem_type).lower() if kind.elem_type else "no tensor"
    return f"{value.name} {element} [{', '.join(names)}]"
