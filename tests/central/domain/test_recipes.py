# SPDX-License-Identifier: Apache-2.0
import base64
import io
from typing import Any

import pytest
from PIL import Image

from central.domain.recipes import Difference, DocumentError, differences, loosened, read_document, wanted_versions
from contracts.manifest import PackageManifest
from contracts.recipes import ProductRecipe, RecipeLimits
from edge_agent.vision import registration
from tests.edge.station_fakes import manifest_of

DIGEST = "d" * 64


def png(side_px: int, *, cut: int = 0, flip: int | None = None) -> str:
    out = io.BytesIO()
    Image.effect_noise((side_px, side_px), 40).save(out, format="PNG")
    content = bytearray(out.getvalue()[: len(out.getvalue()) - cut])
    if flip is not None:
        content[flip] ^= 1
    return base64.b64encode(content).decode()


def with_landmark(encoded: str) -> dict[str, Any]:
    return {"registration": {"method": "TEMPLATE", "landmarks": [{"png": encoded, "x_px": 3, "y_px": 4}]}}


def read(**document: Any) -> ProductRecipe:
    return read_document(document, "ring", 2)


def test_document_becomes_a_recipe_of_the_product_and_version_given() -> None:
    made = read(deadline_ms=90, region={"xywh": [1, 2, 64, 48]}, version=77)
    assert (made.product, made.version, made.deadline_ms) == ("ring", 2, 90)
    assert made.region is not None
    assert made.region.xywh == (1, 2, 64, 48)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"deadline_ms": 0}, "deadline_ms: Input should be greater than or equal to 1, got 0"),
        ({"deadline": 5}, "deadline: no such field"),
        ({"guard": {"min_sharpnes": 5}}, "guard.min_sharpnes: no such field"),
        ({"region": {"xywh": [0, 0, 20, 64]}}, "region: expected width and height ≥ 32 px, got 20 × 64"),
        ({"limits": {"package_id": DIGEST, "ok_limit": 2, "ng_limit": 1}}, "limits: expected ok_limit ≤"),
        ({"budgets_ms": {"THINK": 5}}, "budgets_ms.THINK"),
        ({"product": "gear"}, "product: expected 'ring', got 'gear'"),
        ({"guard": {"max_saturated": 2}, "gain_db": 200}, "gain_db: Input should be"),
        (with_landmark(png(4)), "registration.landmarks.0.png: expected a PNG of 8 px a side or more, got 4 × 4 px"),
        (with_landmark(png(32, flip=60)), "registration.landmarks.0.png: expected a PNG of 8 px a side or more, got"),
        (with_landmark(png(32, cut=20)), "registration.landmarks.0.png: expected a PNG of 8 px a side or more, got no"),
    ],
)  # fmt: skip
def test_document_that_is_no_recipe_is_refused_with_the_fields_name(document: dict[str, Any], said: str) -> None:
    with pytest.raises(DocumentError) as refused:
        read(**document)
    assert said in str(refused.value)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(DocumentError) as refused:
        read(deadline_ms=0, gain_db=200)
    assert "deadline_ms" in str(refused.value)
    assert "gain_db" in str(refused.value)


def test_landmark_that_is_a_picture_is_taken_and_the_station_asks_no_more() -> None:
    assert read(**with_landmark(png(8))).registration is not None
    assert registration.MIN_LANDMARK_PX == 8


def test_differences_name_fields_by_path_and_nothing_else() -> None:
    old = read(region={"xywh": [0, 0, 64, 64]}, budgets_ms={"INFER": 20})
    new = read(region={"xywh": [0, 0, 64, 80]}, guard={"min_sharpness": 9}).model_copy(update={"version": 9})
    assert differences(old, new) == [
        Difference("budgets_ms.INFER", 20.0, None),
        Difference("guard.min_sharpness", 0.0, 9.0),
        Difference("region.xywh", [0, 0, 64, 64], [0, 0, 64, 80]),
    ]
    assert differences(new, new) == []


def test_first_version_differs_from_defaults_alone() -> None:
    assert [each.field for each in differences(None, read(deadline_ms=90))] == ["deadline_ms"]


def test_landmark_is_told_by_size_and_digest_in_differences() -> None:
    (change,) = (each for each in differences(None, read(**with_landmark(png(8)))) if each.field.endswith("png"))
    assert change.field == "registration.landmarks.0.png"
    assert change.new.startswith("PNG of ")


def manifest() -> PackageManifest:
    return manifest_of("ring")


def limits(ok: float, ng: float) -> RecipeLimits:
    return RecipeLimits(package_id=DIGEST, ok_limit=ok, ng_limit=ng)


def test_limits_above_the_packages_are_told_each_by_itself() -> None:
    own = manifest().limits
    recipe = read().model_copy(update={"limits": limits(own.ok_limit + 0.1, own.ng_limit)})
    (warning,) = loosened(recipe, manifest())
    assert warning.startswith("limits.ok_limit: ")
    recipe = read().model_copy(update={"limits": limits(own.ok_limit, own.ng_limit + 0.1)})
    (warning,) = loosened(recipe, manifest())
    assert warning.startswith("limits.ng_limit: ")


def test_limits_at_or_below_the_packages_are_no_loosening() -> None:
    own = manifest().limits
    assert loosened(read().model_copy(update={"limits": limits(own.ok_limit, own.ng_limit)}), manifest()) == []
    assert loosened(read(), None) == []


def test_limits_of_an_unknown_or_another_products_package_are_told() -> None:
    recipe = read().model_copy(update={"limits": limits(0, 0)})
    assert "is not known here" in loosened(recipe, None)[0]
    assert "judges gear" in loosened(recipe, manifest_of("gear"))[0]


def test_review_parts_that_pass_are_told() -> None:
    assert loosened(read(pass_review=True), None)[0].startswith("pass_review")


def test_station_uses_its_pin_before_its_own_before_the_newest() -> None:
    newest, own, pinned = {"ring": 5, "gear": 2, "nut": 1}, {"ring": 6, "gear": 3}, {"ring": 4}
    assert wanted_versions(newest, own, pinned) == {"ring": 4, "gear": 3, "nut": 1}
