# SPDX-License-Identifier: Apache-2.0
"""Where a trunk comes from, and the one form in which it runs: an ONNX fragment `image` → `stride8`, `stride16`.

Order of resolution: an explicit path; SIGHTLINE_WEIGHTS_DIR; the user's cache; the official download with its
SHA-256 checked; and for `auto` the shipped compact trunk. `auto` never downloads: it takes what lies in the
weights folder or the cache, else what we ship, and says which. Does not train. Called by `training`.
"""

import hashlib
import logging
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types

from models.errors import InputError
from models.graphs.writer import FLOAT, GraphWriter, pruned
from models.settings import Settings

_log = logging.getLogger(__name__)

SHIPPED_NAME: Final = "compact"
SHIPPED_FILE: Final = "compact.safetensors"
_SUFFIXES: Final = (".safetensors", ".pt", ".pth", ".onnx")
# In the order in which `auto` prefers them. A ResNet costs a station several times as much: only who asks gets one.
_AUTO: Final = ("mobilenet_v2", "squeezenet1_1")
KNOWN: Final = (*_AUTO, "resnet18", "resnet50", "resnet50v2")
# Files of the same weights go by several names.
_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "mobilenet_v2": ("mobilenet_v2", "mobilenetv2_tv", "mobilenetv2"),
    "squeezenet1_1": ("squeezenet1_1", "squeezenet1_1_torchvision_names"),
    "resnet18": ("resnet18",),
    "resnet50": ("resnet50",),
    # ONNX only: the pre-activation form (He et al., 2016b), for which torchvision has no keys.
    "resnet50v2": ("resnet50v2", "resnet50v2_trunk"),
    "compact": ("compact",),
}
# torchvision's file names end in the first eight digits of their SHA-256; that is what is checked. Of ResNet-50 its
# first weights (V1), not the later ones (V2, resnet50-11ad3fa6.pth; as a file they load too): V2 was trained with label
# smoothing and mixup, which raise ImageNet's accuracy and make frozen features transfer worse (Kornblith et al., 2021).
_DOWNLOADS: Final[dict[str, tuple[str, str]]] = {
    "mobilenet_v2": ("https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", "b0353104"),
    "squeezenet1_1": ("https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
    "resnet18": ("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd"),
    "resnet50": ("https://download.pytorch.org/models/resnet50-0676ba61.pth", "0676ba61"),
}
STAGES: Final = ("stride8", "stride16")
# A fragment from outside is inlined into a package that judges parts: only plain operators pass.
_ALLOWED: Final = frozenset(
    {"Conv", "Clip", "Relu", "Add", "Identity", "BatchNormalization", "MaxPool", "AveragePool", "Concat", "Mul",
     "Sigmoid", "HardSigmoid", "HardSwish", "GlobalAveragePool", "PRelu", "LeakyRelu", "Pad", "Constant"}
)  # fmt: skip


@dataclass(frozen=True)
class Trunk:
    """A frozen feature extractor and where its weights came from."""

    name: str
    fragment: onnx.ModelProto
    weights_sha256: str
    weights_source: str


def resolve(settings: Settings, backbone: str, weights_path: str | None, notes: list[str]) -> Trunk:
    """Find the weights of a backbone and make its trunk. Appends to `notes` what a reader should know.

    Raises:
        InputError: the file is missing or unfit, the name unknown, or the download impossible; says what to do.
    """
    names = (*KNOWN, SHIPPED_NAME)
    if backbone not in ("auto", *names):
        raise InputError(f"backbone: expected auto, {', '.join(names)}, got {backbone!r}")
    if weights_path is not None:
        path = Path(weights_path).expanduser()
        if not path.is_file():
            raise InputError(f"weights: no file at {weights_path!r}; give a .safetensors, .pt, .pth or .onnx file")
        name = backbone if backbone != "auto" else _guessed(path)
        return load_trunk(name, path, f"file {path.name}", settings)
    for name in (*_AUTO, SHIPPED_NAME) if backbone == "auto" else (backbone,):
        for folder, source in ((settings.weights_dir, "weights folder"), (settings.cache_dir, "cache")):
            if folder is not None and (found := _in_folder(folder, name)):
                return load_trunk(name, found, f"{source}, {found.name}", settings)
    if backbone in KNOWN and backbone not in _DOWNLOADS:
        raise InputError(
            f"weights of {backbone}: not found, and there is no official download; give the file with --weights, or "
            f"put {backbone}.onnx into the folder named by SIGHTLINE_WEIGHTS_DIR"
        )
    if backbone in _DOWNLOADS:
        return load_trunk(backbone, _downloaded(settings, backbone), "official download", settings)
    if backbone == "auto":
        notes.append(
            "backbone: no weights in SIGHTLINE_WEIGHTS_DIR or the cache, so the shipped compact trunk was used; "
            "MobileNetV2 weights (--backbone mobilenet_v2) separate better on most products"
        )
    with resources.as_file(resources.files("models") / "weights" / SHIPPED_FILE) as path:
        return load_trunk(SHIPPED_NAME, path, "shipped with sightline", settings)


def at_hand(settings: Settings) -> list[str]:
    """Names of the backbones that `resolve` finds without a download, the shipped one last."""
    folders = [folder for folder in (settings.weights_dir, settings.cache_dir) if folder is not None]
    return [*(name for name in KNOWN if any(_in_folder(folder, name) for folder in folders)), SHIPPED_NAME]


def _guessed(path: Path) -> str:
    # The longest spelling that fits: resnet50v2 begins with resnet50.
    fitting = [
        (len(spelling), name)
        for name, spellings in _ALIASES.items()
        for spelling in spellings
        if path.stem.startswith(spelling)
    ]
    if fitting:
        return max(fitting)[1]
    if path.suffix == ".onnx":
        return path.stem
    raise InputError(f"weights: cannot tell the backbone of {path.name!r}; add --backbone NAME")


def _in_folder(folder: Path, name: str) -> Path | None:
    official = [Path(_DOWNLOADS[name][0]).stem] if name in _DOWNLOADS else []
    for stem in (*_ALIASES[name], *official):
        for suffix in _SUFFIXES:
            if (path := folder / f"{stem}{suffix}").is_file():
                return path
    return None


def _downloaded(settings: Settings, name: str) -> Path:
    url, digest_start = _DOWNLOADS[name]
    remedy = (
        f"put {url.rpartition('/')[2]} into the folder named by SIGHTLINE_WEIGHTS_DIR, or use --backbone "
        f"{SHIPPED_NAME} (shipped)"
    )
    if settings.is_offline:
        raise InputError(f"weights of {name}: not found and SIGHTLINE_OFFLINE=1 forbids the download; {remedy}")
    try:
        with urllib.request.urlopen(url, timeout=settings.download_timeout_s) as answer:  # noqa: S310 -- https only, fixed above
            content = answer.read(settings.max_weights_bytes + 1)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise InputError(f"weights of {name}: not found, and the download failed ({error}); {remedy}") from error
    if len(content) > settings.max_weights_bytes or not hashlib.sha256(content).hexdigest().startswith(digest_start):
        raise InputError(f"weights of {name}: the download's SHA-256 does not start with {digest_start}; {remedy}")
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    path = settings.cache_dir / f"{name}.pth"
    temporary = path.with_suffix(".part")
    temporary.write_bytes(content)
    temporary.replace(path)
    return path


def load_trunk(name: str, path: Path, source: str, settings: Settings) -> Trunk:
    """Make a trunk from one weights file.

    Raises:
        InputError: too large, unreadable, or with other keys than the backbone has.
    """
    size = path.stat().st_size
    if size > settings.max_weights_bytes:
        raise InputError(f"weights {path.name}: expected at most {settings.max_weights_bytes} bytes, got {size}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    fragment = _from_onnx(path) if path.suffix == ".onnx" else _from_checkpoint(name, path)
    return Trunk(name, fragment, digest, source)


def _from_onnx(path: Path) -> onnx.ModelProto:
    try:
        # External data stays unread: a fragment must be whole in its own file.
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise InputError(f"weights {path.name}: not a readable ONNX file ({error})") from error
    outputs = {output.name for output in model.graph.output}
    if not outputs.issuperset(STAGES) or [value.name for value in model.graph.input][:1] != ["image"]:
        raise InputError(f"weights {path.name}: expected input `image` and outputs {STAGES}, got {sorted(outputs)}")
    fragment = pruned(model, STAGES)
    if strange := {node.op_type for node in fragment.graph.node} - _ALLOWED:
        raise InputError(f"weights {path.name}: operators {sorted(strange)} are not allowed in a trunk")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in fragment.graph.initializer):
        raise InputError(f"weights {path.name}: its data lies in other files; save it as one file")
    return fragment


def _from_checkpoint(name: str, path: Path) -> onnx.ModelProto:
    import torch  # noqa: PLC0415 -- torch costs seconds to import; only checkpoints need it here
    from safetensors.torch import load_file  # noqa: PLC0415

    from models.graphs.backbones import MODULES, WHOLE  # noqa: PLC0415

    if name not in MODULES:
        raise InputError(f"weights {path.name}: expected one of {', '.join(MODULES)} as backbone, got {name!r}")
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # torch and safetensors raise many kinds; all mean the file is unfit
        # Their own texts fill a screen and advise to load what may run code.
        raise InputError(
            f"weights {path.name}: not readable as {path.suffix} ({type(error).__name__}); it is broken off, or holds "
            "more than tensors: fetch it again, or save its state_dict as .safetensors"
        ) from error
    if not isinstance(state, dict):
        raise InputError(
            f"weights {path.name}: expected tensors by torchvision's names, got {type(state).__name__}; save the "
            "state_dict"
        )
    # Others put the number of the epoch and the like beside them.
    state = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    module = MODULES[name]()
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    if missing or any(state[key].shape != value.shape for key, value in wanted.items() if key in state):
        raise InputError(f"weights {path.name}: not those of {name}; missing or misshapen keys, such as {missing[:3]}")
    if further := [key for key in state if key.startswith(WHOLE.get(name, "\0")) and key not in wanted]:
        raise InputError(f"weights {path.name}: those of a larger network than {name}, further keys are {further[:3]}")
    module.load_state_dict({key: state[key].float() for key in wanted if key in state}, strict=False)
    return fragment_of(module.eval())


def fragment_of(module: "object") -> onnx.ModelProto:
    """The ONNX form of a torch trunk."""
    from models.graphs.backbones import TrunkModule  # noqa: PLC0415 -- see above

    assert isinstance(module, TrunkModule)  # noqa: S101 -- callers build it from MODULES
    writer = GraphWriter()
    image = writer.input("image", FLOAT, ["n", 3, "h", "w"])
    for name, value in zip(STAGES, module.lower(writer, image), strict=True):
        writer.output(name, value, ["n", "c", f"{name}h", f"{name}w"])
    return writer.model("trunk")
