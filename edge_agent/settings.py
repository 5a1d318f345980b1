# SPDX-License-Identifier: Apache-2.0
"""The station's settings: one TOML file plus `SIGHTLINE_EDGE_*` variables, read once at start.

The only module of the station that looks at the environment. Opens no connection and creates no folder. Called
by `__main__`; the composition root hands the parts on.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from contracts.ids import StationAddress
from contracts.vocabulary import Variant
from edge_agent.changeover_settings import ChangeoverSettings, read_changeover
from edge_agent.download_settings import DownloadSettings, ProxySettings, read_downloads, read_proxy
from edge_agent.errors import SettingsError
from edge_agent.inference.variants import AUTO
from edge_agent.logins import without_login
from edge_agent.output_settings import OutputSettings, read_output
from edge_agent.packages.settings import FallbackSettings, ShadowSettings, read_fallback, read_shadow
from edge_agent.page.settings import PageSettings, read_page
from edge_agent.recipes.from_settings import read_recipe
from edge_agent.recipes.recipe import Recipe, Recipes
from edge_agent.reporting.outbox import BEHIND_AFTER_S
from edge_agent.settings_reader import EffectiveValue, SettingsReader
from edge_agent.source_settings import SourceSettings, read_source
from edge_agent.toml_lines import lines_of_keys
from edge_agent.trigger_settings import FREE_RUN, TriggerSettings, read_trigger_settings
from edge_agent.value_checks import check_name, check_url

PREFIX: Final = "SIGHTLINE_EDGE_"
# What the loop does while reports do not reach the disk; held is every part either way.
HALT: Final = "halt"
FAIL_SAFE: Final = "fail-safe"
_LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
_MIB: Final = 1024**2
_GIB: Final = 1024**3


@dataclass(frozen=True)
class BrokerSettings:
    """How to reach the MQTT broker. The files are for mqtts."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive_s: int = 15
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True)
class CentralSettings:
    """How to reach central's HTTP API. `ca_file`: certificates to trust for https instead of the system's."""

    url: str
    token: str = field(repr=False)
    ca_file: Path | None = None
    proxy: ProxySettings | None = None


@dataclass(frozen=True)
class TrustSettings:
    """What enrolment brought: the first TUF root and the public assignment key. Needed at the first start only."""

    root: Path | None
    assignment_key: Path | None


@dataclass(frozen=True)
class InferenceSettings:
    """What runs the graphs. Provider or variant `auto`, threads 0: the station measures and takes the fastest."""

    provider: str
    threads: int
    variant: str


@dataclass(frozen=True)
class BoundSettings:
    """Every bound of the station, with its unit.

    `on_full_disk` holds once reports have waited `outbox_behind_after_s` for the disk: "fail-safe" goes on judging
    and holds every part, "halt" does not judge. Pictures leave `keep_free_bytes` of the disk to the reports.
    """

    queue_frames: int
    max_gap_parts: int
    outbox_max_rows: int
    outbox_max_bytes: int
    outbox_behind_after_s: float
    on_full_disk: str
    keep_free_bytes: int
    resend_after_s: float
    evidence_max_frames: int
    evidence_max_bytes: int
    evidence_max_pending: int
    max_package_bytes: int


@dataclass(frozen=True)
class Settings:
    """Everything a station is started with."""

    station: StationAddress
    data_dir: Path
    is_simulated: bool
    log_level: str
    heartbeat_s: float
    broker: BrokerSettings
    central: CentralSettings
    trust: TrustSettings
    source: SourceSettings
    output: OutputSettings
    trigger: TriggerSettings
    changeover: ChangeoverSettings | None
    inference: InferenceSettings
    recipes: Recipes
    bounds: BoundSettings
    page: PageSettings
    shadow: ShadowSettings
    fallback: FallbackSettings
    downloads: DownloadSettings = field(default_factory=DownloadSettings)
    effective: tuple[EffectiveValue, ...] = ()

    def describe(self) -> str:
        """The effective values, one line each, with where each came from; secrets and logins are masked."""
        return "\n".join(f"{value.key} = {without_login(value.shown)}  # {value.origin}" for value in self.effective)


def load_settings(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file and the environment.

    Args:
        path: the TOML file.
        environ: environment variables; None: those of this process.

    Raises:
        SettingsError: unreadable file, or faults in it; all of them at once, each naming its key and its line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"{path}: cannot read the settings file: {error.strerror}"]) from error
    return settings_of(content, path, os.environ if environ is None else environ)


def settings_of(content: bytes, path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the content of a settings file that need not be there yet; `path` is where it stands or will stand.

    Raises:
        SettingsError: as `load_settings`.
    """
    try:
        text = content.decode()
        document, lines = tomllib.loads(text), lines_of_keys(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: not a TOML file: {error}"]) from error
    reader = SettingsReader(document, environ, prefix=PREFIX, folder=path.parent, lines=lines)
    settings = _read_settings(reader)
    reader.finish()
    if reader.faults or settings is None:
        raise SettingsError(reader.faults)
    return settings


def _read_settings(reader: SettingsReader) -> Settings | None:
    names = {level: _name(reader, level) for level in ("site", "line", "station")}
    data_dir = reader.path("data_dir")
    is_simulated = reader.flag("is_simulated", default=False)
    log_level = reader.choice("log_level", _LOG_LEVELS, "INFO")
    heartbeat_s = reader.number("heartbeat_s", 2.0, low=0.1, high=300)
    broker = _broker(reader)
    central = CentralSettings(
        _url(reader, "central.url", ("http", "https")),
        reader.text("central.token", is_secret=True),
        reader.path("central.ca_file", is_required=False),
        read_proxy(reader),
    )
    downloads = read_downloads(reader)
    trust = TrustSettings(
        reader.path("trust.root", is_required=False), reader.path("trust.assignment_key", is_required=False)
    )
    source = read_source(reader)
    output = read_output(reader)
    trigger = read_trigger_settings(reader)
    _check_who_triggers(reader, source, trigger)
    changeover = read_changeover(reader)
    inference = InferenceSettings(
        provider=reader.text("inference.provider", AUTO),
        threads=reader.integer("inference.threads", 0, low=0, high=256),
        variant=reader.choice("inference.variant", (AUTO, *(variant.value for variant in Variant)), AUTO),
    )
    recipes = _recipes(reader, output)
    bounds = _bounds(reader)
    page = read_page(reader)
    shadow, fallback = read_shadow(reader), read_fallback(reader)
    if reader.faults or data_dir is None:
        return None
    return Settings(
        station=StationAddress(**names),
        data_dir=data_dir,
        is_simulated=is_simulated,
        log_level=log_level,
        heartbeat_s=heartbeat_s,
        broker=broker,
        central=central,
        trust=trust,
        source=source,
        output=output,
        trigger=trigger,
        changeover=changeover,
        inference=inference,
        recipes=recipes,
        bounds=bounds,
        page=page,
        shadow=shadow,
        fallback=fallback,
        downloads=downloads,
        effective=tuple(reader.effective),
    )


def _check_who_triggers(reader: SettingsReader, source: SourceSettings, trigger: TriggerSettings) -> None:
    """A camera that waits for what nobody gives sees no part, and says nothing."""
    mode = source.genicam.trigger
    if source.kind != "genicam":
        return
    if trigger.kind == FREE_RUN:
        if mode == "software":
            reader.fault("source.trigger", "software needs a trigger.kind that fires the camera, got free-run")
        return
    paired = trigger.camera
    if paired == "auto":
        paired = mode if mode == "software" else "free-run"
    if paired != mode:
        reader.fault("trigger.camera", f'expected "{mode}", as source.trigger says, got "{trigger.camera}"')


def _broker(reader: SettingsReader) -> BrokerSettings:
    return BrokerSettings(
        url=_url(reader, "broker.url", ("mqtt", "mqtts")),
        username=reader.text("broker.username", "") or None,
        password=reader.text("broker.password", "", is_secret=True) or None,
        keepalive_s=reader.integer("broker.keepalive_s", 15, low=2, high=3600),
        ca_file=reader.path("broker.ca_file", is_required=False),
        cert_file=reader.path("broker.cert_file", is_required=False),
        key_file=reader.path("broker.key_file", is_required=False),
    )


def _recipes(reader: SettingsReader, output: OutputSettings) -> Recipes:
    found: dict[str, Recipe] = {}
    for product in reader.names("recipe"):
        key = f"recipe.{product}"
        check_name(reader, key, product)
        found[product] = read_recipe(reader, key, output)
    return Recipes(MappingProxyType(found))


def _bounds(reader: SettingsReader) -> BoundSettings:
    return BoundSettings(
        queue_frames=reader.integer("bounds.queue_frames", 8, low=1, high=1000),
        max_gap_parts=reader.integer("bounds.max_gap_parts", 100_000, low=0, high=10_000_000),
        outbox_max_rows=reader.integer("bounds.outbox_max_rows", 2_000_000, low=1000, high=100_000_000),
        outbox_max_bytes=reader.integer("bounds.outbox_max_bytes", 8 * _GIB, low=_MIB, high=1024 * _GIB),
        outbox_behind_after_s=reader.number("bounds.outbox_behind_after_s", BEHIND_AFTER_S, low=0.1, high=60),
        on_full_disk=reader.choice("bounds.on_full_disk", (HALT, FAIL_SAFE), FAIL_SAFE),
        keep_free_bytes=reader.integer("bounds.keep_free_bytes", 64 * _MIB, low=_MIB, high=1024 * _GIB),
        resend_after_s=reader.number("bounds.resend_after_s", 5.0, low=0.1, high=600),
        evidence_max_frames=reader.integer("bounds.evidence_max_frames", 2000, low=1, high=10_000_000),
        evidence_max_bytes=reader.integer("bounds.evidence_max_bytes", 2 * _GIB, low=1024 * 1024, high=1024 * _GIB),
        evidence_max_pending=reader.integer("bounds.evidence_max_pending", 1000, low=1, high=1_000_000),
        max_package_bytes=reader.integer("bounds.max_package_bytes", _GIB // 2, low=1024, high=16 * _GIB),
    )


def _name(reader: SettingsReader, key: str) -> str:
    value = reader.text(key)
    if value:
        check_name(reader, key, value)
    return value


def _url(reader: SettingsReader, key: str, schemes: tuple[str, ...]) -> str:
    value = reader.text(key)
    if value:
        check_url(reader, key, value, schemes)
    return value.rstrip("/")
