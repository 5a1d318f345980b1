# SPDX-License-Identifier: Apache-2.0
"""A head in mid-training as bytes: weights, the optimiser's moments, the generator and the step. No pickle.

What goes on from them gives the same weights as what was never interrupted. Called by `head`.
"""

import io
import json
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from torch import nn, optim

_MOMENTS: Final = ("exp_avg", "exp_avg_sq")


def pack(step: int, net: "nn.Sequential", optimiser: "optim.AdamW", rng: np.random.Generator) -> bytes:
    """All that the steps from `step` on rest on, besides what the training was given."""
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    for place, parameter in enumerate(net.parameters()):
        arrays[f"weight-{place}"] = parameter.detach().cpu().numpy()
        for name in _MOMENTS:
            arrays[f"{name}-{place}"] = optimiser.state[parameter][name].cpu().numpy()
    told = json.dumps({"step": step, "generator": rng.bit_generator.state})
    buffer = io.BytesIO()
    np.savez(buffer, told=np.frombuffer(told.encode(), np.uint8), **arrays)  # type: ignore[arg-type]  # numpy's stub
    return buffer.getvalue()


def unpack(content: bytes, net: "nn.Sequential", optimiser: "optim.AdamW", rng: np.random.Generator) -> int:
    """Put it into net, optimiser and generator; returns the step to go on with."""
    import torch  # noqa: PLC0415 -- seconds of import, only for training

    with np.load(io.BytesIO(content), allow_pickle=False) as kept:
        told = json.loads(kept["told"].tobytes())
        step = int(told["step"])
        for place, parameter in enumerate(net.parameters()):
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(kept[f"weight-{place}"]))
            state: dict[str, object] = {"step": torch.tensor(float(step))}
            for name in _MOMENTS:
                state[name] = torch.from_numpy(kept[f"{name}-{place}"].copy()).to(parameter.device)
            optimiser.state[parameter] = state
    rng.bit_generator.state = told["generator"]
    return step
