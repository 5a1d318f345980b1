# SPDX-License-Identifier: Apache-2.0
"""`sightline-models inspect`: says what a package is, and all that is wrong with it in one call."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.vocabulary import Variant
from models.__main__ import main
from models.packages.writing import sha256_of
from tests.models.made_package import brightness_graph, made_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    graphs = {Variant.INT8_U8S8: brightness_graph(offset=1), Variant.FP32: brightness_graph()}
    return made_package(tmp_path / "package", graphs)


def rewrite(package: Path, **changes: Any) -> None:
    """Change fields of the manifest; its own digest is nobody's business here."""
    told = json.loads((package / MANIFEST_NAME).read_text())
    (package / MANIFEST_NAME).write_text(json.dumps(told | changes))


def test_package_tells_what_it_is_to_people(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(package)]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"package {sha256_of((package / MANIFEST_NAME).read_bytes())}\n")
    for words in (
        "product plate (simulated parts), detector memory-bank",
        "OK below 140, NG from 160",
        "at most 1.0 % overkill with 95 % confidence, from 299 sound parts",
        "rule: by hand",
        "299 sound and 0 defective pictures, seed 0",
        "golden set: 2 images in golden.npz",
        "int8-u8s8",
        "0.9000",
    ):
        assert words in told
    assert told.count("agrees") == 3
    assert "WRONG" not in told


def test_package_tells_what_it_is_to_scripts(package: Path, tmp_path: Path) -> None:
    figures = tmp_path / "told.json"
    assert main(["inspect", str(package), "--json", str(figures)]) == 0
    told = json.loads(figures.read_text())
    assert told["package"] == sha256_of((package / MANIFEST_NAME).read_bytes())
    assert told["variants"]["fp32"] == {
        "file": "fp32.onnx", "size_bytes": (package / "fp32.onnx").stat().st_size, "image_auroc": 0.9,
        "parity_error": None,
    }  # fmt: skip
    assert (told["limits"]["ng_limit"], told["lineage"]["backbone"], told["golden"]["images"]) == (160, "none", 2)
    assert all(file["is_whole"] for file in told["files"].values())
    assert told["not_in_manifest"] == []


def test_everything_that_is_wrong_is_told_at_once(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (package / "fp32.onnx").read_bytes()
    (package / "fp32.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (package / "golden.npz").unlink()
    (package / "stray.txt").write_text("x")
    assert main(["inspect", str(package)]) == 2
    told = capsys.readouterr()
    assert "fp32.onnx is not the file its manifest names; golden.npz cannot be read" in told.err
    assert told.out.count("WRONG") == 2
    assert "not in the manifest, never used: stray.txt" in told.out
    assert main(["inspect", str(package), "--json", str(tmp_path / "told.json")]) == 2
    files = json.loads((tmp_path / "told.json").read_text())["files"]
    assert [name for name, file in files.items() if not file["is_whole"]] == ["fp32.onnx", "golden.npz"]


def test_longer_file_is_refused_without_being_read(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (package / "fp32.onnx").open("r+b") as file:
        # Sparse: no disk is used, but reading it would take all memory.
        file.truncate(1 << 40)
    assert main(["inspect", str(package)]) == 2
    assert "fp32.onnx is not the file its manifest names" in capsys.readouterr().err


@pytest.mark.parametrize("arrays", [{}, {"images": np.zeros((2, 8, 8, 3), np.uint8)}])
def test_golden_set_without_scores_of_a_variant_is_a_fault(
    package: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, Any]
) -> None:
    np.savez(package / "golden.npz", **arrays)
    content = (package / "golden.npz").read_bytes()
    files = json.loads((package / MANIFEST_NAME).read_text())["files"]
    for file in files:
        if file["name"] == "golden.npz":
            file |= {"sha256": sha256_of(content), "size_bytes": len(content)}
    rewrite(package, files=files)
    assert main(["inspect", str(package)]) == 2
    assert "golden.npz: expected arrays images, score_fp32, score_int8_u8s8, got no" in capsys.readouterr().err


def _broken_arrays() -> bytes:
    """An archive that is whole, of arrays whose compressed bytes are not."""
    stream = io.BytesIO()
    np.savez_compressed(stream, images=np.arange(999), score_fp32=np.zeros(2), score_int8_u8s8=np.zeros(2))
    content = bytearray(stream.getvalue())
    start = content.find(b"images.npy") + 40
    content[start : start + 8] = b"\xff" * 8
    return bytes(content)


@pytest.mark.parametrize("content", [b"PK\x03\x04 and no archive", _broken_arrays()], ids=["no archive", "broken"])
def test_golden_set_that_cannot_be_opened_is_a_fault(
    package: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (package / "golden.npz").write_bytes(content)
    files = json.loads((package / MANIFEST_NAME).read_text())["files"]
    for file in files:
        if file["name"] == "golden.npz":
            file |= {"sha256": sha256_of(content), "size_bytes": len(content)}
    rewrite(package, files=files)
    assert main(["inspect", str(package)]) == 2
    assert "golden.npz: expected arrays without pickles, got" in capsys.readouterr().err


def test_golden_set_with_another_count_is_a_fault(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = json.loads((package / MANIFEST_NAME).read_text())["golden"]
    rewrite(package, golden=golden | {"images": 3})
    assert main(["inspect", str(package)]) == 2
    assert "golden.npz: expected 3 images, got images with 2" in capsys.readouterr().err


@pytest.mark.parametrize("stranger", ["other.onnx", "../fp32.onnx", "/etc/hostname"])
def test_package_that_would_run_a_file_without_a_digest_is_refused(
    package: Path, capsys: pytest.CaptureFixture[str], stranger: str
) -> None:
    rewrite(package, variants=[{"variant": "fp32", "file": stranger}])
    assert main(["inspect", str(package)]) == 2
    told = capsys.readouterr().err
    assert f"expected a digest of every file that it uses, got none of '{stranger}'" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a folder with manifest.json, got none in it; give the folder `package`"),
        (b"", "PackageManifest"),
        (b"{}", "PackageManifest"),
        (b"\xff\xfe", "PackageManifest"),
        (b" " * (5 * 1024 * 1024), "expected a manifest.json of at most 4194304 bytes, got 5242880"),
    ],
)
def test_folder_that_is_no_package_says_what_was_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / MANIFEST_NAME).write_bytes(content)
    assert main(["inspect", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


def test_inspecting_needs_no_torch(package: Path) -> None:
    program = (
        "import sys; from models.__main__ import main; code = main(sys.argv[1:]); "
        "sys.exit(code or 9 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program, "inspect", str(package)], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_promises_of_the_manifest_are_told_in_full(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads((package / MANIFEST_NAME).read_text())
    statement = "Of sound parts like these at most 1.0 % are judged NG."
    promise = {
        "asked_rate": 0.01, "kept_rate": 0.01, "confidence": 0.95, "parts": 299, "pictures": 299, "beyond": 0,
        "statement": statement,
    }  # fmt: skip
    rewrite(package, limits=told["limits"] | {"overkill": promise})
    PackageManifest.model_validate_json((package / MANIFEST_NAME).read_bytes())
    assert main(["inspect", str(package)]) == 0
    assert f"promise: {statement}" in capsys.readouterr().out


def test_figures_never_replace_what_they_measure_nor_a_picture(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in package.iterdir()}
    picture = tmp_path / "000.png"
    picture.write_bytes(b"\x89PNG\r\n")
    targets = {MANIFEST_NAME: "lies in the package", "new.json": "lies in the package"}
    for name, said in targets.items():
        assert main(["inspect", str(package), "--json", str(package / name)]) == 2
        assert said in capsys.readouterr().err
    assert main(["inspect", str(package), "--json", str(picture)]) == 2
    assert "something other than JSON" in capsys.readouterr().err
    assert picture.read_bytes() == b"\x89PNG\r\n"
    assert {path.name: path.read_bytes() for path in package.iterdir()} == before


def test_earlier_figures_are_replaced(package: Path, tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    for content in ("", '{"old": 1}\n'):
        target.write_text(content)
        assert main(["inspect", str(package), "--json", str(target)]) == 0
        assert "old" not in json.loads(target.read_text())


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 2), (5, 1)])
def test_a_package_whose_tiles_do_not_make_up_its_field_is_refused(
    package: Path, capsys: pytest.CaptureFixture[str], rows: int, columns: int
) -> None:
    graph = json.loads((package / MANIFEST_NAME).read_text())["graph"]
    tiles = {"rows": rows, "columns": columns}
    rewrite(package, graph=graph | {"model_height_px": 64, "model_width_px": 96, "tiles": tiles})
    assert main(["inspect", str(package)]) == 2
    told = capsys.readouterr().err
    assert f"expected {rows}x{columns} square tiles of one size to make up the field, got a field of 64 x 96 px" in told
    assert told.count("\n") == 1


def test_tiles_that_make_up_the_field_and_a_field_of_one_tile_of_any_shape_are_read(package: Path) -> None:
    graph = json.loads((package / MANIFEST_NAME).read_text())["graph"] | {"model_height_px": 64, "model_width_px": 96}
    for tiles in ({"rows": 2, "columns": 3}, {"rows": 1, "columns": 1}):
        rewrite(package, graph=graph | {"tiles": tiles})
        assert main(["inspect", str(package)]) == 0
