# SPDX-License-Identifier: Apache-2.0
"""What the graph writer offers beyond single operators."""

import numpy as np
from onnx import helper, numpy_helper

from models.graphs.features import open_session
from models.graphs.writer import FLOAT, GraphWriter


def test_summed_squares_are_of_each_picture_and_each_place() -> None:
    writer = GraphWriter()
    rows = writer.input("rows", FLOAT, ["n", 5, "m"])
    writer.output("sums", writer.summed_squares(rows, 5), ["n", 1, "m"])
    session = open_session(writer.model("sums"), 1)
    for shape in ((1, 5, 4), (3, 5, 7)):
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(session.run(None, {"rows": values})[0], (values**2).sum(1, keepdims=True), rtol=1e-5)


def test_inlining_takes_inner_graphs_along_under_names_of_their_own() -> None:
    inner = GraphWriter()
    values = inner.input("values", FLOAT, ["n"])
    is_it = inner.op("Greater", [inner.op("ReduceSum", [values], keepdims=0), inner.constant(0.0)])
    branches = []
    for sign in (1.0, -1.0):
        name = f"by {sign}"
        factor = numpy_helper.from_array(np.array(sign, np.float32), f"{name}/factor")
        node = helper.make_node("Mul", ["values", factor.name], [name], name=name)
        told = helper.make_tensor_value_info(name, FLOAT, ["n"])
        branches.append(helper.make_graph([node], name, [], [told], [factor]))
    inner.output("turned", inner.op("If", [is_it], then_branch=branches[0], else_branch=branches[1]), ["n"])
    fragment = inner.model("turned")
    writer = GraphWriter()
    once = writer.input("once", FLOAT, ["n"])
    first = writer.inline(fragment, {"values": once}, "first")["turned"]
    less = writer.op("Sub", [first, writer.constant(3.0)])
    writer.output("twice", writer.inline(fragment, {"values": less}, "second")["turned"], ["n"])
    session = open_session(writer.model("twice"), 1)
    # −1 is turned to 1 in the first, and what is left of it, −2, to 2 in the second.
    np.testing.assert_array_equal(session.run(None, {"once": np.array([-1.0], np.float32)})[0], [2.0])
    np.testing.assert_array_equal(session.run(None, {"once": np.array([4.0], np.float32)})[0], [1.0])
