# SPDX-License-Identifier: Apache-2.0
"""Settings of the training side, read from the environment once. The only place here that reads it.

| variable | meaning |
|---|---|
| SIGHTLINE_WEIGHTS_DIR | folder of backbone weights (.safetensors, .pt, .pth, .onnx), named after the backbone |
| SIGHTLINE_CACHE_DIR | where downloaded weights are kept (default: the user's cache folder) |
| SIGHTLINE_OFFLINE | 1: never try the network |
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.errors import InputError


@dataclass(frozen=True)
class Settings:
    """Where weights may come from, and how large an input may be."""

    weights_dir: Path | None = None
    cache_dir: Path = Path.home() / ".cache" / "sightline"
    is_offline: bool = False
    # Beyond these a picture is named and left out, so that one file cannot take the machine down.
    max_picture_bytes: int = 64 * 1024 * 1024
    max_picture_px: int = 64_000_000
    min_picture_side_px: int = 32
    max_labels_bytes: int = 32 * 1024 * 1024
    # Decoded pictures are kept up to here, and read again beyond it.
    max_kept_pixels_bytes: int = 1_500_000_000
    # What a fit on several tiles may hold; beyond it pictures are given up, or the training is refused.
    max_fit_bytes: int = 3_000_000_000
    max_weights_bytes: int = 512 * 1024 * 1024
    download_timeout_s: float = 10.0


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment.

    Raises:
        InputError: a variable names something that is not there; all faults in one message.
    """
    env = os.environ if environment is None else environment
    faults: list[str] = []
    weights_dir: Path | None = None
    if text := env.get("SIGHTLINE_WEIGHTS_DIR"):
        weights_dir = Path(text).expanduser()
        if not weights_dir.is_dir():
            faults.append(f"SIGHTLINE_WEIGHTS_DIR: expected a folder, got {text!r}; unset it or make the folder")
    offline = env.get("SIGHTLINE_OFFLINE", "0")
    if offline not in {"0", "1", ""}:
        faults.append(f"SIGHTLINE_OFFLINE: expected 0 or 1, got {offline!r}")
    if faults:
        raise InputError("; ".join(faults))
    cache = env.get("SIGHTLINE_CACHE_DIR")
    fallback = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline"
    return Settings(weights_dir, Path(cache).expanduser() if cache else fallback, offline == "1")


@contextlib.contextmanager
def variable_set(name: str, value: str) -> Iterator[None]:
    """A variable for a library that asks for nothing else, as it was before when the block ends."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
