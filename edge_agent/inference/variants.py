# SPDX-License-Identifier: Apache-2.0
"""Which numeric forms of a package a station tries, and in which order.

Pure. Does not measure: the installer opens them in this order and takes the first that passes the self-test.
The order per provider rests on measurement (INT8 U8S8 was 3.3 × FP32 on an x86 CPU with VNNI, S8S8 1.2 ×).
"""

from collections.abc import Iterable
from typing import Final

from contracts.vocabulary import Variant

AUTO: Final = "auto"

_ORDER: Final[dict[str, tuple[Variant, ...]]] = {
    "CPUExecutionProvider": (Variant.INT8_U8S8, Variant.FP32),
    "OpenVINOExecutionProvider": (Variant.INT8_U8S8, Variant.FP16, Variant.FP32),
    "CUDAExecutionProvider": (Variant.FP16, Variant.FP32),
    "TensorrtExecutionProvider": (Variant.INT8_S8S8, Variant.FP16, Variant.FP32),
}
# Every provider runs FP32 in some way; nothing else is safe to guess.
_UNKNOWN_PROVIDER: Final = (Variant.FP32,)


def variant_order(provider: str, wanted: str = AUTO) -> tuple[Variant, ...]:
    """Variants to try on `provider`, best first.

    Args:
        provider: ONNX Runtime execution provider.
        wanted: `auto`, or one variant that alone may be used.

    Raises:
        ValueError: `wanted` is neither `auto` nor a known variant.
    """
    if wanted != AUTO:
        return (Variant(wanted),)
    return _ORDER.get(provider, _UNKNOWN_PROVIDER)


def choose_variants(offered: Iterable[Variant], provider: str, wanted: str = AUTO) -> list[Variant]:
    """Those of `variant_order` that a package offers, best first; empty: the package has none for us."""
    available = set(offered)
    return [variant for variant in variant_order(provider, wanted) if variant in available]
