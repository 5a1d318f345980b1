# SPDX-License-Identifier: Apache-2.0
"""Every way an assignment or a package must be refused."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner

from contracts.ids import StationAddress
from contracts.topics import Channel, topic
from contracts.vocabulary import PackageState, RefusalReason, Variant
from edge_agent.errors import DeviceError
from edge_agent.inference.session import InferenceSession
from edge_agent.packages.activation import Runtime
from tests.edge.packages.conftest import STATION, Bench
from tests.edge.packages.steps import two_packages
from tests.fakes.packages import brightness_graph, build_package

REASON = RefusalReason


@pytest.mark.parametrize("name", ["manifest.json", "golden.npz", "int8-u8s8.onnx", "fp32.onnx"])
def test_altered_target_is_refused_and_the_old_package_judges_on(bench: Bench, name: str) -> None:
    first, second = two_packages(bench)
    path = f"targets/{second}/{name}"
    _status, content = bench.server.answer(path)
    bench.server.replaced[path] = content[:-1] + bytes([content[-1] ^ 1])
    bench.assign(2, {"ring": second})
    bench.wait_refused(REASON.DIGEST)
    loaded = bench.slots.active("ring")
    assert loaded is not None
    assert loaded.package_id == first
    assert [fault.code for fault in bench.installer.faults()] == ["package-refused"]


def test_package_that_no_metadata_names_is_refused(bench: Bench) -> None:
    bench.start()
    package = build_package(bench.disk / "built" / "unsigned")
    shutil.copytree(package.folder, bench.server._folder / "targets" / package.package_id)
    bench.assign(1, {"ring": package.package_id})
    bench.wait_refused(REASON.SIGNATURE)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_altered_metadata_is_refused(bench: Bench, role: str) -> None:
    first, second = two_packages(bench)
    bench.built("third", scale=3.0)
    name = "timestamp.json" if role == "timestamp" else f"{bench.server.version}.{role}.json"
    content = json.loads(bench.server.metadata(name).read_bytes())
    content["signed"]["expires"] = "2099-01-01T00:00:00Z"
    bench.server.replaced[f"metadata/{name}"] = json.dumps(content).encode()
    bench.assign(2, {"ring": second})
    bench.wait_refused(REASON.SIGNATURE)
    assert bench.store.slots("ring").current == first


def test_metadata_signed_by_a_foreign_key_is_refused(bench: Bench) -> None:
    _first, second = two_packages(bench)
    bench.server.write(signer=CryptoSigner.generate_ed25519())
    bench.assign(2, {"ring": second})
    bench.wait_refused(REASON.SIGNATURE)


def test_expired_timestamp_is_refused(bench: Bench) -> None:
    _first, second = two_packages(bench)
    bench.server.write(timestamp_expires=datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1))
    bench.assign(2, {"ring": second})
    bench.wait_refused(REASON.EXPIRED)


def test_older_metadata_is_refused(bench: Bench) -> None:
    _first, second = two_packages(bench)
    old = bench.server.metadata("timestamp.json").read_bytes()
    third = bench.built("third", scale=3.0)
    bench.assign(2, {"ring": third.package_id})
    bench.wait_active(third)
    bench.server.replaced["metadata/timestamp.json"] = old
    bench.assign(3, {"ring": second})
    bench.wait_refused(REASON.ROLLBACK)


@pytest.mark.parametrize("path", ["metadata/timestamp.json", "targets"])
def test_endless_data_is_cut_off_and_refused(bench: Bench, path: str) -> None:
    _first, second = two_packages(bench)
    bench.server.endless.add(f"targets/{second}/golden.npz" if path == "targets" else path)
    bench.assign(2, {"ring": second})
    bench.wait_refused(REASON.TOO_LARGE)


def test_package_beyond_the_byte_bound_is_refused(bench: Bench) -> None:
    package = bench.built("large", golden={"filler": np.random.default_rng(1).bytes(5 * 1024 * 1024)})
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_refused(REASON.TOO_LARGE)


def test_older_assignment_number_is_ignored_and_status_names_the_running_one(bench: Bench) -> None:
    first, second = two_packages(bench)
    bench.assign(5, {"ring": second})
    bench.wait(lambda: bench.status().assignment_number == 5 and bench.installer.counters.activated == 2)
    bench.assign(4, {"ring": first})
    bench.wait_ignored(REASON.ROLLBACK)
    assert bench.status().assignment_number == 5
    assert bench.store.slots("ring").current == second


def test_second_assignment_under_a_used_number_is_ignored(bench: Bench) -> None:
    _first, second = two_packages(bench)
    bench.assign(1, {"ring": second})
    bench.wait_ignored(REASON.ROLLBACK)


def test_number_is_remembered_over_a_restart(bench: Bench) -> None:
    _first, second = two_packages(bench)
    bench.stop()
    bench.broker.retained.clear()
    bench.start()
    bench.assign(1, {"ring": second})
    bench.wait_ignored(REASON.ROLLBACK)


def test_repeated_assignment_changes_nothing(bench: Bench) -> None:
    two_packages(bench)
    bench.broker.go_down()
    bench.broker.come_up()
    bench.wait(lambda: bench.installer.counters.assignments_repeated >= 1)
    bench.wait(lambda: bench.installer.counters.activated == 1)
    assert bench.status().refused is None


def test_assignment_for_another_station_is_ignored(bench: Bench) -> None:
    _first, second = two_packages(bench)
    other = StationAddress(site="demo", line="line-1", station="st-2")
    bench.deliver(bench.server.seal(other, 9, {"ring": second}))
    bench.wait_ignored(REASON.WRONG_STATION)
    assert bench.status().assignment_number == 1


def test_expired_assignment_is_refused_under_its_own_number(bench: Bench) -> None:
    _first, second = two_packages(bench)
    bench.assign(2, {"ring": second}, now=datetime.now(UTC) - timedelta(days=3))
    bench.wait(lambda: bench.status().refused is REASON.EXPIRED)
    assert bench.status().assignment_number == 2


def test_assignment_signed_by_a_foreign_key_is_ignored(bench: Bench) -> None:
    _first, second = two_packages(bench)
    bench.assign(2, {"ring": second}, signer=CryptoSigner.generate_ed25519())
    bench.wait_ignored(REASON.SIGNATURE)


@pytest.mark.parametrize("rubbish", [b"\xff\x00", b"{}", b"[]", b"null", b'{"payload": 1}', b"[" * 5000])
def test_rubbish_on_the_assignment_topic_is_ignored(bench: Bench, rubbish: bytes) -> None:
    bench.start()
    bench.deliver(rubbish)
    bench.wait_ignored(REASON.UNREADABLE)


def test_assignment_in_another_encoding_is_ignored_and_the_next_one_is_followed(bench: Bench) -> None:
    _first, second = two_packages(bench)
    # json reads UTF-16 by itself, so the signature in it holds.
    bench.deliver(bench.server.seal(STATION, 2, {"ring": second}).decode().encode("utf-16"))
    bench.wait_ignored(REASON.UNREADABLE)
    bench.assign(3, {"ring": second})
    bench.wait(lambda: bench.installer.counters.activated == 2)


def test_installer_outlives_an_assignment_that_fails_unforeseen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _first, second = two_packages(bench)

    def fail(*_args: object, **_more: object) -> bool:
        raise RuntimeError("unforeseen")

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.packages.installer.judge_assignment", fail)
        bench.assign(2, {"ring": second})
        bench.wait_ignored(REASON.UNREADABLE)
    bench.assign(2, {"ring": second})
    bench.wait(lambda: bench.installer.counters.activated == 2)


def test_stray_message_never_answers_the_assignment_in_force(bench: Bench) -> None:
    first, _second = two_packages(bench)
    bench.deliver(b"{}")
    bench.wait_ignored(REASON.UNREADABLE)
    status = bench.status()
    assert (status.assignment_number, status.refused) == (1, None)
    assert [(row.package_id, row.state) for row in status.packages] == [(first, PackageState.ACTIVE)]
    counters = bench.installer.counters
    assert (counters.assignments_ignored, counters.assignments_refused) == (1, 0)
    assert [fault.code for fault in bench.installer.faults()] == ["assignment-ignored"]


def test_stray_message_does_not_hide_the_refusal_of_an_assignment(bench: Bench) -> None:
    _first, second = two_packages(bench)
    bench.assign(2, {"ring": second}, now=datetime.now(UTC) - timedelta(days=3))
    bench.wait(lambda: bench.status().refused is REASON.EXPIRED)
    bench.deliver(b"{}")
    bench.wait(lambda: bench.installer.counters.assignments_ignored == 1)
    assert (bench.status().assignment_number, bench.status().refused) == (2, REASON.EXPIRED)
    assert "expired" in bench.status().detail


def test_refusal_is_taken_back_when_the_valid_assignment_is_heard_again(bench: Bench) -> None:
    first, second = two_packages(bench)
    valid = bench.broker.retained[topic(STATION, Channel.ASSIGNMENT)]
    bench.assign(2, {"ring": second}, now=datetime.now(UTC) - timedelta(days=3))
    bench.wait(lambda: bench.status().refused is not None)
    bench.deliver(b"{}")
    bench.wait(lambda: bench.installer.counters.assignments_ignored == 1)
    bench.deliver(valid)
    bench.wait(lambda: bench.status().refused is None)
    assert (bench.status().detail, bench.installer.faults()) == ("", [])
    assert bench.store.slots("ring").current == first


def test_package_of_another_product_is_refused(bench: Bench) -> None:
    board = bench.built("board", "board")
    bench.start()
    bench.assign(1, {"ring": board.package_id})
    bench.wait_refused(REASON.WRONG_PRODUCT)


def test_package_published_for_another_product_is_refused(bench: Bench) -> None:
    package = build_package(bench.disk / "built" / "ring")
    bench.server.publish(package, product="board")
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_refused(REASON.WRONG_PRODUCT)


@pytest.mark.parametrize("name", ["../../outside.onnx", "/etc/passwd", "a/b.onnx", "..", "manifest.json"])
def test_manifest_with_a_path_outside_is_refused_and_writes_nothing(bench: Bench, name: str) -> None:
    files = [{"name": name, "role": "model", "sha256": "0" * 64, "size_bytes": 1}] * 2
    package = bench.built("evil", changes={"files": files})
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_refused(REASON.UNREADABLE)
    assert not list((bench.disk / "packages" / ".staging").iterdir())
    assert not (bench.disk / "outside.onnx").exists()


def test_package_that_fails_its_self_test_here_is_refused(bench: Bench) -> None:
    first = bench.built("first")
    bad = bench.built("bad", graphs={Variant.INT8_U8S8: brightness_graph(1.5)}, scale=1.0)
    bench.start()
    bench.assign(1, {"ring": first.package_id})
    bench.wait_active(first)
    bench.assign(2, {"ring": bad.package_id})
    row = bench.wait_refused(REASON.SELF_TEST)
    assert "expected score" in row.detail
    assert bench.store.slots("ring").current == first.package_id


def test_next_variant_is_taken_when_the_preferred_one_fails(bench: Bench) -> None:
    graphs = {Variant.INT8_U8S8: brightness_graph(1.5), Variant.FP32: brightness_graph(1.0)}
    package = bench.built("mixed", graphs=graphs)
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_active(package)
    row = bench.progress()
    assert row is not None
    assert row.variant is Variant.FP32


def test_file_that_is_no_graph_is_refused(bench: Bench) -> None:
    package = bench.built("nograph", graphs={Variant.FP32: b"not a graph"})
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_refused(REASON.UNREADABLE)


def test_package_without_a_variant_for_this_station_is_refused(bench: Bench) -> None:
    package = bench.built("gpu", graphs={Variant.FP16: brightness_graph()})
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_refused(REASON.NO_VARIANT)


def test_missing_provider_is_refused_with_the_remedy(bench: Bench) -> None:
    def no_gpu(path: Path, *, provider: str, threads: int) -> InferenceSession:
        del path, threads
        raise DeviceError(f"asked for {provider}, got CPU", remedy="check nvidia-smi", code="provider-fallback")

    bench.runtime = Runtime("CPUExecutionProvider", open_session=no_gpu)
    package = bench.built("first")
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    assert "nvidia-smi" in bench.wait_refused(REASON.NO_VARIANT).detail
