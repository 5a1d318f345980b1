# SPDX-License-Identifier: Apache-2.0
"""Weights: where they come from, and that the ONNX form of a trunk equals the torch one."""

import re
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from models.data.procedural import draw_pictures
from models.errors import InputError
from models.graphs.backbones import IMAGENET_MEAN, IMAGENET_STD, MODULES, MobileNetV2
from models.graphs.features import FeatureExtractor, build_front, open_session, stage_channels
from models.graphs.trunks import Trunk, at_hand, fragment_of, load_trunk, resolve
from models.graphs.writer import FLOAT, GraphWriter
from models.settings import Settings, read_settings


@pytest.mark.parametrize("name", sorted(MODULES))
def test_onnx_trunk_equals_torch_trunk(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().train()
    with torch.no_grad():
        # Statistics other than 0 and 1, so that folding is really proved.
        module(torch.rand(4, 3, 96, 96) * 3)
    module.eval()
    image = torch.rand(2, 3, 96, 64)
    told = open_session(fragment_of(module), 1).run(None, {"image": image.numpy()})
    with torch.inference_mode():
        for ours, theirs in zip(told, module(image), strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-4)


def _resnet_state(blocks: tuple[int, int, int, int], *, is_bottleneck: bool) -> dict[str, torch.Tensor]:
    """A checkpoint with torchvision's own key names and shapes, classifier and `layer4` with it; random weights."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        for kind in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{kind}"] = (channels,)

    shapes["conv1.weight"] = (64, 3, 7, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        kernels = [(1, width), (3, width), (1, 4 * width)] if is_bottleneck else [(3, width), (3, width)]
        for index in range(count):
            block, before = f"layer{stage + 1}.{index}", inputs
            for number, (kernel, outputs) in enumerate(kernels, 1):
                shapes[f"{block}.conv{number}.weight"] = (outputs, before, kernel, kernel)
                norm(f"{block}.bn{number}", outputs)
                before = outputs
            if index == 0 and (stage > 0 or is_bottleneck):
                shapes[f"{block}.downsample.0.weight"] = (before, inputs, 1, 1)
                norm(f"{block}.downsample.1", before)
            inputs = before
    shapes["fc.weight"], shapes["fc.bias"] = (1000, inputs), (1000,)
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        # Convolutions that keep the spread, positive variances.
        state[name] = noise * float(np.prod(shape[1:])) ** -0.5 if len(shape) > 1 else 1 + 0.1 * noise.abs()
    return state


_RESNETS = {"resnet18": ((2, 2, 2, 2), False, (128, 256)), "resnet50": ((3, 4, 6, 3), True, (512, 1024))}


@pytest.mark.parametrize("name", sorted(_RESNETS))
def test_resnet_checkpoint_with_torchvision_keys_gives_maps_at_strides_8_and_16(
    name: str, tmp_path: Path, settings: Settings
) -> None:
    blocks, is_bottleneck, channels = _RESNETS[name]
    state = _resnet_state(blocks, is_bottleneck=is_bottleneck)
    path = tmp_path / f"{name}-12345678.pth"
    torch.save(state, path)
    trunk = resolve(settings, "auto", str(path), [])
    assert trunk.name == name
    image = np.random.default_rng(0).normal(size=(1, 3, 96, 64)).astype(np.float32)
    told = open_session(trunk.fragment, 1).run(["stride8", "stride16"], {"image": image})
    assert [each.shape for each in told] == [(1, channels[0], 12, 8), (1, channels[1], 6, 4)]
    module = MODULES[name]()
    module.load_state_dict({key: state[key] for key in module.state_dict() if key in state}, strict=False)
    with torch.inference_mode():
        for ours, theirs in zip(told, module.eval()(torch.from_numpy(image)), strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_weights_of_a_deeper_resnet_are_refused(tmp_path: Path, settings: Settings) -> None:
    """Its keys hold all of the shallower one's, in the same shapes: it would load, and be half a network."""
    torch.save(_resnet_state((3, 4, 6, 3), is_bottleneck=False), tmp_path / "resnet34.pth")
    with pytest.raises(InputError, match=r"larger network than resnet18.*layer1\.2"):
        resolve(settings, "resnet18", str(tmp_path / "resnet34.pth"), [])


def test_auto_passes_over_a_resnet_and_by_name_it_is_found(tmp_path: Path) -> None:
    torch.save(_resnet_state((2, 2, 2, 2), is_bottleneck=False), tmp_path / "resnet18-f37072fd.pth")
    settings = Settings(weights_dir=tmp_path, cache_dir=tmp_path / "cache", is_offline=True)
    assert resolve(settings, "auto", None, []).name == "compact"
    assert resolve(settings, "resnet18", None, []).weights_source == "weights folder, resnet18-f37072fd.pth"


def _is_found(folder: Path, name: str, backbone: str) -> bool:
    """Whether a file of this name is taken for the backbone: the digits below are read, and are none."""
    folder.mkdir()
    (folder / name).write_bytes(b"rubbish")
    settings = Settings(weights_dir=folder, cache_dir=folder / "cache", is_offline=True)
    for weights_path in (None, str(folder / name)):
        with pytest.raises(InputError, match=f"weights {re.escape(name)}: not "):
            resolve(settings, backbone if weights_path is None else "auto", weights_path, [])
    return backbone in at_hand(settings)


def test_files_that_the_docs_name_are_found_in_the_folder_and_by_their_name(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/training.md").read_text()
    named = set(re.findall(r"`([a-z0-9_]+(?:-[0-9a-f]{8})?\.(?:pth|pt|safetensors|onnx))`", text))
    assert {"resnet18-f37072fd.pth", "resnet50-0676ba61.pth", "resnet50v2.onnx"} <= named
    for name in named:
        backbone = re.split(r"[-.]", name)[0]
        assert _is_found(tmp_path / name, name, backbone), name


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "squeezenet1_1", "resnet18", "resnet50", "resnet50v2"])
def test_the_file_that_a_refusal_asks_for_is_the_one_that_is_found(
    backbone: str, tmp_path: Path, settings: Settings
) -> None:
    with pytest.raises(InputError) as refused:
        resolve(settings, backbone, None, [])
    (name,) = re.findall(r"put (\S+) into the folder named by SIGHTLINE_WEIGHTS_DIR", str(refused.value))
    assert _is_found(tmp_path / "weights", name, backbone)


def test_pre_activation_resnet_comes_as_onnx_only_and_says_so(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"resnet50v2: not found, and there is no official download; give the file"):
        resolve(settings, "resnet50v2", None, [])


@pytest.mark.parametrize("backbone", ["auto", "resnet50v2"])
def test_real_trunk_of_a_pre_activation_resnet_is_taken(backbone: str, real_images: Path, settings: Settings) -> None:
    path = real_images / "weights" / "resnet50v2_trunk.onnx"
    trunk = resolve(settings, backbone, str(path), [])
    assert trunk.name == "resnet50v2"
    told = open_session(trunk.fragment, 1).run(None, {"image": np.zeros((1, 3, 64, 96), np.float32)})
    assert [each.shape for each in told] == [(1, 512, 8, 12), (1, 1024, 4, 6)]


def test_auto_takes_the_shipped_trunk_when_nothing_else_is_there(settings: Settings) -> None:
    notes: list[str] = []
    trunk = resolve(settings, "auto", None, notes)
    assert (trunk.name, trunk.weights_source) == ("compact", "shipped with sightline")
    assert any("shipped compact trunk" in note for note in notes)


def test_explicit_path_comes_before_folder_and_folder_before_cache(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {key: value for key, value in MobileNetV2().state_dict().items() if value.is_floating_point()}
    folder, cache = tmp_path / "folder", tmp_path / "cache"
    for place in (folder, cache, tmp_path):
        place.mkdir(exist_ok=True)
        save_file(state, place / "mobilenet_v2.safetensors")
    settings = Settings(weights_dir=folder, cache_dir=cache, is_offline=True)
    explicit = resolve(settings, "auto", str(tmp_path / "mobilenet_v2.safetensors"), [])
    assert explicit.weights_source.startswith("file")
    assert resolve(settings, "auto", None, []).weights_source.startswith("weights folder")
    assert resolve(Settings(cache_dir=cache, is_offline=True), "auto", None, []).weights_source.startswith("cache")


def test_named_backbone_without_weights_offline_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"SIGHTLINE_OFFLINE=1 .* use --backbone compact"):
        resolve(settings, "mobilenet_v2", None, [])


def test_unfit_weights_are_refused_by_name(tmp_path: Path, settings: Settings) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "mobilenet_v2.safetensors")
    with pytest.raises(InputError, match="not those of mobilenet_v2"):
        load_trunk("mobilenet_v2", tmp_path / "mobilenet_v2.safetensors", "test", settings)
    (tmp_path / "x.onnx").write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"x\.onnx"):
        load_trunk("x", tmp_path / "x.onnx", "test", settings)


def test_trunk_with_strange_operators_is_refused(tmp_path: Path, settings: Settings) -> None:
    writer = GraphWriter()
    image = writer.input("image", FLOAT, ["n", 3, "h", "w"])
    strange = writer.op("Sin", [image])
    for name in ("stride8", "stride16"):
        writer.output(name, strange, ["n", 3, "h", "w"])
    onnx.save(writer.model("strange"), str(tmp_path / "strange.onnx"))
    with pytest.raises(InputError, match="Sin"):
        load_trunk("strange", tmp_path / "strange.onnx", "test", settings)


def test_settings_report_all_faults_at_once() -> None:
    with pytest.raises(InputError, match=r"WEIGHTS_DIR.*OFFLINE"):
        read_settings({"SIGHTLINE_WEIGHTS_DIR": "/nowhere/at/all", "SIGHTLINE_OFFLINE": "maybe"})


def test_front_of_the_graph_resizes_as_torch_does(settings: Settings) -> None:
    """Enlarging agrees to rounding; when shrinking, ONNX Runtime treats the outermost pixels otherwise."""
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(draw_pictures(rng, 1, 128)[0], (0, 0), 2.0)
    trunk = resolve(settings, "compact", None, [])
    features = FeatureExtractor(build_front(trunk, size_px=160, grid=20), threads=1).extract([picture], 1)
    planes = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    sized = torch.nn.functional.interpolate(planes, (160, 160), mode="bilinear", antialias=True, align_corners=False)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    fragment = open_session(trunk.fragment, 1)
    fine, coarse = fragment.run(["stride8", "stride16"], {"image": ((sized / 255 - mean) / std).numpy()})
    expected = []
    for stage in (fine, coarse):
        pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(stage), 3, 1, 1, count_include_pad=False)
        expected.append(torch.nn.functional.interpolate(pooled, (20, 20), mode="bilinear", align_corners=False))
    np.testing.assert_allclose(features, torch.cat(expected, 1).numpy(), atol=0.02)


def _wide_fragment(channels: tuple[int, int], rng: np.random.Generator) -> onnx.ModelProto:
    """A trunk of two convolutions."""
    writer = GraphWriter()
    image = writer.input("image", FLOAT, ["n", 3, "h", "w"])
    for name, count, stride in zip(("stride8", "stride16"), channels, (8, 16), strict=True):
        weight = rng.normal(size=(count, 3, 1, 1)).astype(np.float32)
        stage = writer.conv(image, weight, np.zeros(count, np.float32), stride=stride)
        writer.output(name, stage, ["n", count, f"{name}h", f"{name}w"])
    return writer.model("wide")


@pytest.mark.parametrize(("channels", "factor"), [((401, 800), 4), ((256, 512), 1)])
def test_features_of_a_wide_trunk_are_means_of_neighbouring_channels(channels: tuple[int, int], factor: int) -> None:
    rng = np.random.default_rng(0)
    fragment = _wide_fragment(channels, rng)
    trunk = Trunk("wide", fragment, "0" * 64, "test")
    assert stage_channels(trunk) == tuple(each // factor for each in channels)
    front = build_front(trunk, size_px=64, grid=8)
    picture = draw_pictures(rng, 1, 64)[0]
    found = FeatureExtractor(front, threads=1).extract([picture], 1)
    kept = [count // factor for count in channels]
    assert found.shape == (1, sum(kept), 8, 8)
    planes = (picture[..., ::-1].transpose(2, 0, 1)[None] / 255).astype(np.float32)
    mean, std = (np.array(each, np.float32).reshape(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    stages = open_session(fragment, 1).run(["stride8", "stride16"], {"image": (planes - mean) / std})
    expected = []
    for stage, count in zip(stages, kept, strict=True):
        means = stage[:, : count * factor].reshape(1, count, factor, *stage.shape[2:]).mean(2)
        pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(means), 3, 1, 1, count_include_pad=False)
        expected.append(torch.nn.functional.interpolate(pooled, (8, 8), mode="bilinear", align_corners=False))
    np.testing.assert_allclose(found, torch.cat(expected, 1).numpy(), rtol=2e-3, atol=0.01)


def test_features_of_many_pictures_never_take_their_memory_twice(settings: Settings) -> None:
    front = build_front(resolve(settings, "compact", None, []), size_px=64, grid=32)
    extractor, count = FeatureExtractor(front, threads=1), 24
    picture = draw_pictures(np.random.default_rng(0), 1, 64)[0]
    extractor.extract([picture], 1)
    tracemalloc.start()
    features = extractor.extract((picture for _ in range(count)), count)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert features.nbytes > 4_000_000
    assert peak_bytes < 1.4 * features.nbytes


@pytest.mark.parametrize("told", [0, 1, 3])
def test_features_of_another_number_of_pictures_than_told_are_a_fault(settings: Settings, told: int) -> None:
    front = build_front(resolve(settings, "compact", None, []), size_px=64, grid=8)
    pictures = draw_pictures(np.random.default_rng(0), 2, 64)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        FeatureExtractor(front, threads=1).extract(list(pictures), told)


def test_shipped_trunk_fits_its_bound_and_made_up_pictures_are_reproducible() -> None:
    shipped = Path(__file__).parents[2] / "models" / "weights" / "compact.safetensors"
    assert shipped.stat().st_size <= 4 * 1024 * 1024
    first, second = (draw_pictures(np.random.default_rng(3), 4, 64) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.std() > 10
