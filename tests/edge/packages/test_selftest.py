# SPDX-License-Identifier: Apache-2.0
"""A package judges only after its golden images gave the golden scores on this station."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.vocabulary import RefusalReason, Variant
from edge_agent.clock import SystemClock
from edge_agent.errors import InferenceError
from edge_agent.inference.session import Inference
from edge_agent.packages import selftest
from edge_agent.packages.selftest import SelfTestResult, run_self_test
from edge_agent.packages.trust import PackageRefused
from tests.fakes.packages import HEATMAP_PX, TOLERANCE, BuiltPackage, build_package, golden_images


class FakeSession:
    """Gives the mean brightness, plus what the test wants to go wrong."""

    provider = "FakeExecutionProvider"

    def __init__(self, *, off_by: float = 0.0, fails: bool = False, **outputs: Any) -> None:
        self.runs = 0
        self._off_by = off_by
        self._fails = fails
        self._outputs = outputs

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        self.runs += 1
        if self._fails:
            raise InferenceError("the graph failed")
        values: dict[str, Any] = {
            "score": float(image_bgr.mean() / 255.0) + self._off_by,
            "heatmap": np.zeros((HEATMAP_PX, HEATMAP_PX), dtype=np.float32),
            "embedding": np.zeros(3, dtype=np.float32),
        }
        return Inference(**(values | self._outputs))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> BuiltPackage:
    return build_package(tmp_path_factory.mktemp("packages") / "one")


def check(package: BuiltPackage, session: FakeSession, golden: Path | None = None) -> SelfTestResult:
    path = golden or package.folder / "golden.npz"
    return run_self_test(session, path, package.manifest, Variant.FP32, SystemClock())


def refusal(package: BuiltPackage, session: FakeSession, golden: Path | None = None) -> RefusalReason:
    with pytest.raises(PackageRefused) as caught:
        check(package, session, golden)
    return caught.value.reason


def test_session_that_gives_the_golden_scores_passes_and_is_timed(package: BuiltPackage) -> None:
    session = FakeSession()
    result = check(package, session)
    assert result.worst_error < 1e-5
    assert result.infer_p50_ms >= 0
    assert session.runs > len(golden_images())


@pytest.mark.parametrize("off_by", [0.9 * TOLERANCE, -0.9 * TOLERANCE])
def test_score_within_the_tolerance_passes(package: BuiltPackage, off_by: float) -> None:
    assert check(package, FakeSession(off_by=off_by)).worst_error == pytest.approx(abs(off_by), rel=0.01)


@pytest.mark.parametrize(
    "session",
    [
        FakeSession(off_by=1.1 * TOLERANCE),
        FakeSession(off_by=-1.1 * TOLERANCE),
        FakeSession(score=float("nan")),
        FakeSession(score=float("inf")),
        FakeSession(fails=True),
        FakeSession(heatmap=np.full((HEATMAP_PX, HEATMAP_PX), np.nan, dtype=np.float32)),
        FakeSession(heatmap=np.zeros((1, 1), dtype=np.float32)),
        FakeSession(embedding=np.zeros(5, dtype=np.float32)),
    ],
)
def test_session_that_differs_fails(package: BuiltPackage, session: FakeSession) -> None:
    assert refusal(package, session) is RefusalReason.SELF_TEST


def test_class_scores_must_fit_the_defect_classes(package: BuiltPackage) -> None:
    manifest = package.manifest.model_copy(update={"defect_classes": ["pit", "crack"]})
    for classes, is_accepted in ((None, False), (3, False), (2, True)):
        scores = None if classes is None else np.zeros(classes, dtype=np.float32)
        session, golden = FakeSession(class_scores=scores), package.folder / "golden.npz"
        if is_accepted:
            run_self_test(session, golden, manifest, Variant.FP32, SystemClock())
        else:
            with pytest.raises(PackageRefused, match="class_scores"):
                run_self_test(session, golden, manifest, Variant.FP32, SystemClock())


GOOD = {"images": golden_images(), "score_fp32": np.zeros(3, dtype=np.float32)}


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"images": golden_images()},
        {"score_fp32": np.zeros(3, dtype=np.float32)},
        GOOD | {"images": golden_images().astype(np.float32)},
        GOOD | {"images": golden_images()[:2]},
        GOOD | {"images": golden_images()[..., :1]},
        GOOD | {"score_fp32": np.zeros(2, dtype=np.float32)},
        GOOD | {"score_fp32": np.array([0, np.nan, 0], dtype=np.float32)},
        GOOD | {"score_fp32": np.array(["a", "b", "c"])},
        GOOD | {"score_fp32": np.array([1, None, {}], dtype=object)},
    ],
)
def test_golden_file_that_is_not_as_promised_is_refused(
    package: BuiltPackage, tmp_path: Path, arrays: dict[str, NDArray[Any]]
) -> None:
    np.savez(tmp_path / "golden.npz", **arrays)  # type: ignore[arg-type]
    assert refusal(package, FakeSession(), tmp_path / "golden.npz") is RefusalReason.UNREADABLE


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 rubbish", b"\x80\x04N."])
def test_golden_file_that_is_no_archive_is_refused(package: BuiltPackage, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(content)
    assert refusal(package, FakeSession(), tmp_path / "golden.npz") is RefusalReason.UNREADABLE


def test_golden_file_that_unpacks_beyond_the_bound_is_refused_unread(
    package: BuiltPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "MAX_GOLDEN_BYTES", 1 << 22)
    path = tmp_path / "golden.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as member:
        member.write(bytes(1 << 23))
    assert path.stat().st_size < 1 << 20
    session = FakeSession()
    assert refusal(package, session, path) is RefusalReason.TOO_LARGE
    assert session.runs == 0
