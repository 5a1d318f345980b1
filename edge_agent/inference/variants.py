# SPDX-License-Identifier: Apache-2.0
"""Ways of running a package on a station: which variant, on which provider, with how many threads, best guess first.

Pure. Does not measure: `packages.speed` does, and takes the fastest. The order decides between ways that are about as
fast, and which files of a package are downloaded. The order of variants rests on measurement (INT8 U8S8 was 3.3 × FP32
on an x86 CPU with VNNI, S8S8 1.2 ×) and on limits being placed on the form that a CPU station runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.vocabulary import Variant

AUTO: Final = "auto"
CPU: Final = "CPUExecutionProvider"

# Providers, fastest kind of device first; the order in which `auto` prefers them.
_ORDER: Final[dict[str, tuple[Variant, ...]]] = {
    "TensorrtExecutionProvider": (Variant.INT8_S8S8, Variant.FP16, Variant.FP32),
    "CUDAExecutionProvider": (Variant.FP16, Variant.FP32),
    "QNNExecutionProvider": (Variant.INT8_S8S8, Variant.INT8_U8S8, Variant.FP16),
    "CANNExecutionProvider": (Variant.FP16, Variant.FP32),
    "OpenVINOExecutionProvider": (Variant.INT8_U8S8, Variant.FP16, Variant.FP32),
    CPU: (Variant.INT8_U8S8, Variant.FP32),
}
# Every provider runs FP32 in some way; nothing else is safe to guess.
_UNKNOWN_PROVIDER: Final = (Variant.FP32,)
# Devices of one provider, written `OpenVINOExecutionProvider:NPU`; without one the provider chooses.
_DEVICES: Final = {"OpenVINOExecutionProvider": ("NPU", "GPU", "CPU")}
# Providers whose graphs run on threads of this machine's CPU.
_ON_CPU_THREADS: Final = frozenset({CPU, "OpenVINOExecutionProvider:CPU"})


@dataclass(frozen=True)
class Way:
    """One way of running a package. `provider` may name a device after a colon."""

    variant: Variant
    provider: str
    threads: int

    def __str__(self) -> str:
        return f"{self.variant} on {self.provider}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def split_provider(name: str) -> tuple[str, str]:
    """Provider and device, the latter empty where none is named."""
    provider, _, device = name.partition(":")
    return provider, device


def providers_to_try(wanted: str, available: Iterable[str]) -> list[str]:
    """Providers that a station may use, best first.

    Args:
        wanted: `auto`, or the only one.
        available: those of the installed ONNX Runtime.
    """
    if wanted != AUTO:
        return [wanted]
    there = set(available)
    found: list[str] = []
    for provider in _ORDER:
        if provider in there:
            found += [f"{provider}:{device}" for device in _DEVICES.get(provider, ())] or [provider]
    return found or [CPU]


def threads_to_try(provider: str, wanted: int, cores: int) -> list[int]:
    """Numbers of threads, fewest first. `wanted` 0: measured, 1, 2, 4 … up to the cores of this machine."""
    if wanted:
        return [wanted]
    if provider not in _ON_CPU_THREADS:
        return [1]
    return [count for count in (1, 2, 4, 8, 16) if count == 1 or count <= cores]


def variant_order(provider: str, wanted: str = AUTO) -> tuple[Variant, ...]:
    """Variants to try on `provider`, best first.

    Args:
        provider: ONNX Runtime execution provider, with or without a device.
        wanted: `auto`, or one variant that alone may be used.

    Raises:
        ValueError: `wanted` is neither `auto` nor a known variant.
    """
    if wanted != AUTO:
        return (Variant(wanted),)
    return _ORDER.get(split_provider(provider)[0], _UNKNOWN_PROVIDER)


def ways_to_try(
    offered: Iterable[Variant], providers: Sequence[str], *, variant: str = AUTO, threads: int = 1, cores: int = 1
) -> list[Way]:
    """All ways in which a package may run here, best guess first; empty: the package has no variant for us."""
    available = set(offered)
    return [
        Way(each, provider, count)
        for provider in providers
        for each in variant_order(provider, variant)
        if each in available
        for count in threads_to_try(provider, threads, cores)
    ]
