# SPDX-License-Identifier: Apache-2.0
"""How many fields of the model's size lie side by side over one picture: the words a person types, and their bounds.

For parts that are larger than the model's field can show. Says nothing of how a graph runs them. Used by `jobs` and
`manifest`.
"""

from typing import Final, Self

from pydantic import Field, model_validator

from contracts.base import Shape

# Each tile costs the time of a whole picture; more than these are no inspection beside a line any more.
MOST_TILES: Final = 64
# A side of the field in px; as `manifest.GraphSignature` has it.
MOST_FIELD_PX: Final = 4096


class Tiles(Shape):
    """`rows` × `columns` of them; 1 × 1 is the whole picture in one field."""

    rows: int = Field(default=1, ge=1, le=MOST_TILES)
    columns: int = Field(default=1, ge=1, le=MOST_TILES)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.count > MOST_TILES:
            msg = f"expected at most {MOST_TILES} tiles in all, got {self.rows} x {self.columns}"
            raise ValueError(msg)
        return self

    @property
    def count(self) -> int:
        """How many in all."""
        return self.rows * self.columns

    @property
    def told(self) -> str:
        """As `--tiles` takes it: `2x5` is two rows of five."""
        return f"{self.rows}x{self.columns}"

    def field_px(self, size_px: int) -> tuple[int, int]:
        """Height and width of the field that tiles of `size_px` a side make up, px."""
        return self.rows * size_px, self.columns * size_px

    def misfit(self, height_px: int, width_px: int) -> str | None:
        """Why a field of this size is not made up of these tiles, each as high as wide; None: it is.

        One tile may have any shape: a graph that was learnt elsewhere need not see squares.
        """
        if self.count == 1 or (
            height_px % self.rows == 0 and self.field_px(height_px // self.rows) == (height_px, width_px)
        ):
            return None
        return (
            f"tiles: expected {self.told} square tiles of one size to make up the field, got a field of "
            f"{height_px} x {width_px} px (rows x columns, height x width); make the package again"
        )
