# SPDX-License-Identifier: Apache-2.0
"""What the graph writer offers beyond single operators."""

import numpy as np

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
