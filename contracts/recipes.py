# SPDX-License-Identifier: Apache-2.0
"""Recipes on the wire: what to look at on a product, and which product a station makes now.

`AssignRecipes` travels only as the payload of a DSSE envelope signed with the assignment key: who could change a ROI
or a limit could let defects pass. `SwitchProduct` is a plain command, as a trigger that names its product is.
"""

import base64
import binascii
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from contracts.base import Count, Message, Ordinal, Shape, UtcTime
from contracts.ids import Name, PackageId, StationAddress
from contracts.vocabulary import OutputKind, RegistrationMethod, Stage

RECIPES_PAYLOAD_TYPE: Final = "application/vnd.sightline.recipes+json"
MIN_ROI_PX: Final = 32
MAX_RECIPES: Final = 64
# Of one landmark's PNG; a mark to be found again is small.
_MAX_PATTERN_BYTES: Final = 64 * 1024
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"

Pixel = Annotated[int, Field(ge=0, le=65_535)]


def _png(value: str) -> str:
    try:
        content = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("expected a PNG in base64") from error
    if not content.startswith(_PNG_START) or len(content) > _MAX_PATTERN_BYTES:
        msg = f"expected a PNG of at most {_MAX_PATTERN_BYTES} bytes in base64, got {len(content)} bytes"
        raise ValueError(msg)
    return value


class Region(Shape):
    """The region of interest in pixels of the frame: a rectangle by `xywh`, or a polygon by its corners."""

    xywh: tuple[Pixel, Pixel, Pixel, Pixel] | None = None
    polygon: list[tuple[Pixel, Pixel]] | None = Field(default=None, min_length=3, max_length=64)

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if (self.xywh is None) == (self.polygon is None):
            raise ValueError("region: expected either xywh or polygon")
        if self.xywh is not None:
            sides = self.xywh[2:]
        else:
            corners = self.polygon or []
            sides = tuple(max(values) - min(values) + 1 for values in zip(*corners, strict=True))
        if min(sides) < MIN_ROI_PX:
            msg = f"region: expected width and height ≥ {MIN_ROI_PX} px, got {sides[0]} × {sides[1]}"
            raise ValueError(msg)
        return self


class LandmarkPattern(Shape):
    """A mark to find again: its grey picture as PNG in base64, and its upper left corner in the frame."""

    png: Annotated[str, AfterValidator(_png)]
    x_px: Pixel
    y_px: Pixel


class RegistrationRule(Shape):
    """How the product is found in the frame; see `RegistrationMethod`."""

    method: RegistrationMethod
    landmarks: list[LandmarkPattern] = Field(min_length=1, max_length=2)
    search_px: int = Field(default=32, ge=1, le=2048)
    min_score: float = Field(default=0.6, ge=0, le=1)
    max_shift_px: float = Field(default=24, ge=0, le=2048)


class GuardRule(Shape):
    """What a picture must keep to be judged; brightness, contrast and sharpness as in `ImageMeasures`."""

    min_brightness: float = Field(default=2.0, ge=0, le=255)
    max_saturated: float = Field(default=0.98, ge=0, le=1)
    min_contrast: float = Field(default=1.0, ge=0, le=255)
    min_sharpness: float = Field(default=0.0, ge=0, le=1e6)
    max_identical: int = Field(default=2, ge=0, le=1000)


class RecipeLimits(Shape):
    """Limits instead of those of one package's manifest. For any other package they say nothing and are not used."""

    package_id: PackageId
    ok_limit: float
    ng_limit: float

    @model_validator(mode="after")
    def _are_in_order(self) -> Self:
        if self.ok_limit > self.ng_limit:
            msg = f"limits: expected ok_limit ≤ ng_limit, got {self.ok_limit} and {self.ng_limit}"
            raise ValueError(msg)
        return self


class OutputRule(Shape):
    """An output of the station that is told of this product's parts, and its times where they are not the station's.

    Times are for the output on the line controller alone. The way to the gate is given once: by `delay_ms`, by
    `distance_mm` and `speed_mm_s` (either alone where the station's settings have the other), or by `distance_counts`
    of the station's encoder.
    """

    kind: OutputKind
    pulse_ms: float | None = Field(default=None, ge=5, le=60_000)
    delay_ms: float | None = Field(default=None, ge=0, le=600_000)
    distance_mm: float | None = Field(default=None, ge=0.1, le=1_000_000)
    speed_mm_s: float | None = Field(default=None, ge=0.01, le=100_000)
    distance_counts: int | None = Field(default=None, ge=1, le=1 << 30)

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        by_speed = self.distance_mm is not None or self.speed_mm_s is not None
        ways = sum((self.delay_ms is not None, by_speed, self.distance_counts is not None))
        if ways > 1:
            raise ValueError("outputs: expected one of delay_ms, distance_mm with speed_mm_s, and distance_counts")
        if self.kind is OutputKind.MQTT and (ways or self.pulse_ms is not None):
            raise ValueError("outputs: mqtt hands over a word and gives no pulse, it takes no times")
        return self


class ProductRecipe(Shape):
    """How one product is inspected. A version never changes; a change is a new version.

    `package_family`: the product whose package judges; None: its own. `exposure_us` and `gain_db` are set at the camera
    where it can; None leaves them. `budgets_ms`: longest time that a stage should take. `outputs`: those of the station
    that are told of this product's parts, with the one that drives the gate among them; None: every one, as the
    station's settings say.
    """

    product: Name
    version: int = Field(ge=1, le=2**31 - 1)
    region: Region | None = None
    registration: RegistrationRule | None = None
    guard: GuardRule = GuardRule()
    exposure_us: float | None = Field(default=None, gt=0, le=60_000_000)
    gain_db: float | None = Field(default=None, ge=-100, le=100)
    limits: RecipeLimits | None = None
    package_family: Name | None = None
    deadline_ms: float = Field(default=1000.0, ge=1, le=600_000)
    budgets_ms: dict[Stage, Annotated[float, Field(gt=0, le=600_000)]] = {}
    pass_review: bool = False
    outputs: list[OutputRule] | None = Field(default=None, min_length=1, max_length=len(OutputKind))

    @model_validator(mode="after")
    def _names_each_output_once(self) -> Self:
        kinds = [rule.kind.value for rule in self.outputs or ()]
        if len(set(kinds)) != len(kinds):
            msg = f"outputs: expected each kind once, got {', '.join(kinds)}"
            raise ValueError(msg)
        return self


class AssignRecipes(Message):
    """All recipes of one station. A higher number replaces a lower one; never the reverse.

    Of each product at most one recipe; a product without one is inspected by the station's own settings.
    """

    station: StationAddress
    number: Ordinal
    issued_at: UtcTime
    recipes: list[ProductRecipe] = Field(max_length=MAX_RECIPES)

    @model_validator(mode="after")
    def _names_each_product_once(self) -> Self:
        products = [recipe.product for recipe in self.recipes]
        if len(set(products)) != len(products):
            msg = f"recipes: expected each product once, got {', '.join(sorted(products))}"
            raise ValueError(msg)
        return self


class RefusedRecipe(Shape):
    """A recipe of the assignment that its station cannot follow, and why. The others of the assignment are in force.

    `follows`: the version that the station follows instead (0: of its settings); None: none, so that parts of this
    product get no decision.
    """

    product: Name
    version: int = Field(ge=1, le=2**31 - 1)
    reason: str = Field(max_length=500)
    follows: Count | None = None


class ActiveRecipe(Shape):
    """What a station inspects by now: the product made, its recipe's version, and the assignment it is from.

    `version` 0: of the station's settings. `number` 0: central has assigned none. `is_led`: the line's controller says
    what is made, and nobody else does.
    """

    product: Name | None = None
    version: Count = 0
    number: Count = 0
    refused: list[RefusedRecipe] = Field(default=[], max_length=MAX_RECIPES)
    is_led: bool = False
