# SPDX-License-Identifier: Apache-2.0
"""Scenario files: which line runs, and what happens to it at which part.

A strict reader of TOML: an unknown key, an unknown kind or a value out of bounds is refused, and all faults
are reported together. Does not act: cameras play the picture steps, the demo plays the steps for processes.
Called by the `sightline` command, the camera simulator and the tests.

Time on the line is parts: a step given `at_s` is turned into the part that passes at that time at the
scenario's takt, so that a slow machine plays the same story as a fast one.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from contracts.ids import Name, StationAddress
from plant.parts.catalogue import Material
from plant.scenario_rollout import RolloutStory
from plant.scenario_words import unknown_words

Share = Annotated[float, Field(ge=0, le=1)]


class ScenarioError(ValueError):
    """The file is not a scenario. `faults` holds every fault found, one line each."""

    def __init__(self, source: str, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(f"{source}: {len(faults)} fault(s)\n" + "\n".join(f"  - {fault}" for fault in faults))


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Severity(_Strict):
    """How strongly defects stand out, 0 (barely) … 1; drawn evenly between the two."""

    low: Share = 0.4
    high: Share = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            msg = f"low {self.low} lies above high {self.high}"
            raise ValueError(msg)
        return self


class NewDefect(_Strict):
    """A kind that never occurred before, or more of a known one; `rate` is its (added) share of all parts from then on.

    Without `product` it comes to every product that can have the kind.
    """

    kind: Name
    rate: Share
    severity: Severity = Severity()
    product: Name | None = None

    @field_validator("severity", mode="before")
    @classmethod
    def _number_means_both_ends(cls, value: object) -> object:
        return {"low": value, "high": value} if isinstance(value, int | float) else value


class MaterialBatch(_Strict):
    """From now on the parts of this product are made of another batch; see `plant.parts.catalogue.Material`."""

    product: Name
    tone: float = Field(default=0.0, ge=-0.6, le=0.6)
    tint: float = Field(default=0.0, ge=-0.3, le=0.3)
    grain: float = Field(default=0.0, ge=-1, le=3)

    @property
    def look(self) -> Material:
        """What the renderer needs of it."""
        return Material(self.tone, self.tint, self.grain)


class StationPlan(_Strict):
    """One station of the line and the product it starts with."""

    name: Name
    product: Name


class Drift(_Strict):
    """What every real camera does: a daily cycle of light and colour, and sensor noise.

    `light` and `colour` are amplitudes as shares; a day lasts `day_parts` parts of the line; `noise` is the
    standard deviation in grey levels.
    """

    light: float = Field(default=0.015, ge=0, le=0.5)
    colour: float = Field(default=0.008, ge=0, le=0.5)
    day_parts: int = Field(default=2400, ge=10)
    noise: float = Field(default=1.2, ge=0, le=40)
    drop_rate: Share = 0.0


class InspectorPlan(_Strict):
    """The simulated inspector: how often wrong, how slow, how many judgements a second at most."""

    error_rate: Share = 0.02
    delay_s: float = Field(default=0.5, ge=0, le=3600)
    judgements_per_s: float = Field(default=10.0, gt=0, le=1000)


class Step(_Strict):
    """Something that happens at a part of the line (`at_part`), or at a time of the line (`at_s`).

    light, colour: added share (−0.05: five per cent darker; colour > 0 is warmer); blur_px: Gaussian sigma;
    noise: grey levels; soiling 0 … 1; shift_px: [right, down]; drop_rate: share of frames lost at the camera.
    Picture steps stay, and are reached evenly over `over_parts`. Without `station` a step is for all stations.
    """

    at_part: int | None = Field(default=None, ge=0)
    at_s: float | None = Field(default=None, ge=0)
    station: Name | None = None
    note: str = Field(default="", max_length=200)
    over_parts: int = Field(default=0, ge=0)
    light: float | None = Field(default=None, ge=-0.95, le=3)
    colour: float | None = Field(default=None, ge=-0.5, le=0.5)
    blur_px: float | None = Field(default=None, ge=0, le=20)
    noise: float | None = Field(default=None, ge=0, le=80)
    soiling: Share | None = None
    shift_px: tuple[float, float] | None = None
    drop_rate: Share | None = None
    new_defect: NewDefect | None = None
    material: MaterialBatch | None = None
    changeover: Name | None = None
    broker_down_s: float | None = Field(default=None, gt=0, le=86400)
    kill: str | None = Field(default=None, pattern=r"^(central|broker|edge:[a-z0-9][a-z0-9_-]*)$")

    @property
    def is_for_pictures(self) -> bool:
        """Something that the camera shows."""
        effects = (self.light, self.colour, self.blur_px, self.noise, self.soiling, self.shift_px, self.drop_rate)
        return any(value is not None for value in effects)

    @property
    def is_for_processes(self) -> bool:
        """Something that the supervisor does."""
        return self.broker_down_s is not None or self.kill is not None

    @model_validator(mode="after")
    def _one_time_and_an_action(self) -> Self:
        if (self.at_part is None) == (self.at_s is None):
            msg = "expected either at_part or at_s"
            raise ValueError(msg)
        is_for_parts = self.new_defect or self.material or self.changeover
        if not (self.is_for_pictures or self.is_for_processes or is_for_parts):
            msg = "nothing happens: expected light, new_defect, material, changeover, broker_down_s, kill or an effect"
            raise ValueError(msg)
        return self

    @property
    def part(self) -> int:
        """The part of the line at which it happens."""
        return self.at_part or 0


class Scenario(_Strict):
    """A line and its story. `parts` 0: endless. `defects`: share of all parts for each known kind."""

    name: Name = "scenario"
    title: str = Field(min_length=1, max_length=120)
    summary: str = Field(default="", max_length=1000)
    site: Name = "demo"
    line: Name = "line-1"
    seed: int = Field(default=7, ge=0, le=2**31)
    parts: int = Field(default=0, ge=0)
    takt_s: float = Field(gt=0.001, le=3600)
    size_px: int = Field(default=256, ge=64, le=1024)
    commissioning_parts: int = Field(default=160, ge=1, le=10_000)
    stations: tuple[StationPlan, ...] = Field(alias="station", min_length=1, max_length=64)
    defects: dict[Name, Share] = {}
    severity: Severity = Severity()
    drift: Drift = Drift()
    inspector: InspectorPlan = InspectorPlan()
    steps: tuple[Step, ...] = Field(default=(), alias="step", max_length=200)
    rollout: RolloutStory | None = None

    @model_validator(mode="after")
    def _steps_by_part(self) -> Self:
        def placed(step: Step) -> Step:
            if step.at_part is not None:
                return step
            part = round((step.at_s or 0.0) / self.takt_s * len(self.stations))
            return step.model_copy(update={"at_part": part})

        steps = tuple(sorted((placed(step) for step in self.steps), key=lambda step: step.part))
        object.__setattr__(self, "steps", steps)
        return self

    @model_validator(mode="after")
    def _rollout_of_this_line(self) -> Self:
        story, names = self.rollout, [plan.name for plan in self.stations]
        if story is None:
            return self
        if strangers := sorted(set(story.cut) - set(names)):
            raise ValueError(f"rollout.cut: no station {', '.join(strangers)}; the line has {', '.join(names)}")
        if story.blind_to is not None and story.blind_to not in self.defects:
            raise ValueError(f"rollout.blind_to: expected one of {', '.join(self.defects)}, got {story.blind_to}")
        if not self.defects or len(self.products) > 1:
            raise ValueError("rollout: expected one product and the kinds of defect that it comes with")
        return self

    @property
    def products(self) -> tuple[str, ...]:
        """Every product the line makes, in order of appearance."""
        named = [plan.product for plan in self.stations]
        named += [step.changeover for step in self.steps if step.changeover]
        return tuple(dict.fromkeys(named))

    @property
    def _first_new(self) -> Step | None:
        return next((step for step in self.steps if step.new_defect), None)

    @property
    def new_defect(self) -> NewDefect | None:
        """The first new kind of the story."""
        return self._first_new.new_defect if self._first_new else None

    @property
    def new_defect_at_part(self) -> int | None:
        """The part of the line from which it may occur."""
        return self._first_new.part if self._first_new else None

    def address(self, station: str) -> StationAddress:
        """Full address of one of the stations."""
        return StationAddress(site=self.site, line=self.line, station=station)


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Read a shipped scenario by name, or a file.

    Raises:
        ScenarioError: no such scenario, not readable, not TOML, or faults in it; correct the file.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and str(name_or_path) in shipped_scenarios():
        return read_scenario(_shipped().joinpath(f"{name_or_path}.toml").read_text("utf-8"), str(name_or_path))
    try:
        if not path.is_file():
            known = ", ".join(shipped_scenarios())
            raise ScenarioError(str(name_or_path), [f"expected a .toml file or one of: {known}"])
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        fault = f"expected text in UTF-8, got another byte at position {error.start}; save the file as UTF-8"
        raise ScenarioError(str(name_or_path), [fault]) from error
    except OSError as error:
        fault = f"expected a file that can be read, got {error.strerror}; give another file"
        raise ScenarioError(str(name_or_path), [fault]) from error
    return read_scenario(text, path.stem)


def shipped_scenarios() -> tuple[str, ...]:
    """Names of the scenarios that come with Sightline."""
    names = (entry.name for entry in _shipped().iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def read_scenario(text: str, name: str) -> Scenario:
    """Read scenario text.

    Raises:
        ScenarioError: all faults at once.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(name, [f"not TOML: {error}"]) from error
    content.setdefault("name", name.lower().replace(" ", "-"))
    faults: list[str] = []
    scenario: Scenario | None = None
    try:
        scenario = Scenario.model_validate(content)
    except ValidationError as error:
        faults += [_fault(dict(item)) for item in error.errors(include_url=False)]
    faults += unknown_words(content)
    if faults or scenario is None:
        raise ScenarioError(name, faults)
    return scenario


def _shipped() -> resources.abc.Traversable:
    return resources.files("plant") / "scenarios"


def _fault(item: dict[str, object]) -> str:
    location = item["loc"]
    where = ".".join(str(part) for part in location) if isinstance(location, tuple) else ""
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key; remove it or correct its spelling"
    return f"{where or 'scenario'}: {item['msg']}, got {item.get('input')!r:.120}"
