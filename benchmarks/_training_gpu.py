# SPDX-License-Identifier: Apache-2.0
"""The gradient training of the own trunk on a GPU, by numeric form and memory layout; says so where there is none."""

import time
from typing import Any, Final

import torch

from models.graphs.backbones import CompactTrunk

_BATCH: Final = 64
_SIDE_PX: Final = 128
_STEPS: Final = 60
_WARM: Final = 10
_FORMS: Final = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def on_gpu() -> dict[str, Any]:
    """Images a second and the share of the wall time that the GPU was busy (its own clock), and the loss at the end."""
    if not torch.cuda.is_available():
        return {"skipped": "no CUDA device, or torch without CUDA"}
    told: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for name, form in _FORMS.items():
        for layout in ("contiguous", "channels_last"):
            told[f"{name}_{layout}"] = _steps(form, layout)
    return told


def _steps(form: torch.dtype, layout: str) -> dict[str, float]:
    torch.manual_seed(0)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    net = CompactTrunk().cuda().to(memory_format=memory)  # type: ignore[call-overload]  # torch's stub lacks it
    pictures = torch.randn(_BATCH, 3, _SIDE_PX, _SIDE_PX).cuda().to(memory_format=memory)
    optimiser, scaler = (
        torch.optim.AdamW(net.parameters(), lr=1e-3),
        torch.amp.GradScaler(enabled=form is torch.float16),
    )
    busy_ms, loss, began_s = 0.0, torch.zeros(()), 0.0
    for step in range(_WARM + _STEPS):
        if step == _WARM:
            torch.cuda.synchronize()
            busy_ms, began_s = 0.0, time.monotonic()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # no types there
        start.record()
        with torch.autocast("cuda", dtype=form, enabled=form is not torch.float32):
            loss = sum(stage.float().square().mean() for stage in net(pictures))
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        end.record()
        end.synchronize()
        busy_ms += start.elapsed_time(end)
    wall_s = time.monotonic() - began_s
    return {"images_per_s": _STEPS * _BATCH / wall_s, "busy_rate": busy_ms / 1e3 / wall_s, "loss": float(loss)}
