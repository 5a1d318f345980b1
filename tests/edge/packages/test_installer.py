# SPDX-License-Identifier: Apache-2.0
"""The road from an assignment to an active package, and every way it must be refused."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner

from contracts.ids import StationAddress
from contracts.topics import Channel, topic
from contracts.vocabulary import PackageState, RefusalReason, Variant
from edge_agent.errors import DeviceError
from edge_agent.inference.onnx import open_session
from edge_agent.inference.session import InferenceSession
from edge_agent.packages.activation import Runtime
from tests.edge.packages.conftest import STATION, Bench
from tests.fakes.packages import brightness_graph, build_package, golden_images

REASON = RefusalReason


def _score(bench: Bench, product: str = "ring") -> float:
    loaded = bench.slots.active(product)
    assert loaded is not None
    return loaded.session.run(golden_images()[0]).score


def _two_packages(bench: Bench) -> tuple[str, str]:
    """A first package that judges and a second one that is published; the station is running."""
    first, second = bench.built("first", scale=1.0), bench.built("second", scale=2.0)
    bench.start()
    bench.assign(1, {"ring": first.package_id})
    bench.wait_active(first)
    return first.package_id, second.package_id


def test_assigned_package_becomes_active_and_every_step_is_reported(bench: Bench) -> None:
    package = bench.built("first")
    bench.start()
    bench.assign(7, {"ring": package.package_id})
    bench.wait_active(package)
    states = [row.state for status in bench.statuses for row in status.packages]
    expected = [PackageState.DOWNLOADING, PackageState.VERIFIED, PackageState.INSTALLED, PackageState.ACTIVE]
    assert list(dict.fromkeys(states)) == expected
    row = bench.progress()
    assert row is not None
    assert bench.status().assignment_number == 7
    assert row.variant is Variant.INT8_U8S8
    assert row.provider == "CPUExecutionProvider"
    assert row.self_test_worst_error is not None
    assert row.self_test_worst_error < 0.001
    assert row.infer_p50_ms is not None


def test_switch_replaces_the_package_and_keeps_the_old_one_on_disk(bench: Bench) -> None:
    first, second = bench.built("first"), bench.built("second", scale=2.0)
    bench.start()
    bench.assign(1, {"ring": first.package_id})
    bench.wait_active(first)
    before = _score(bench)
    bench.assign(2, {"ring": second.package_id})
    bench.wait_active(second)
    assert _score(bench) == pytest.approx(2 * before, rel=1e-5)
    slots = bench.store.slots("ring")
    assert (slots.current, slots.previous) == (second.package_id, first.package_id)


def test_third_package_removes_the_first_from_disk(bench: Bench) -> None:
    packages = [bench.built(f"p{index}", scale=1.0 + index) for index in range(3)]
    bench.start()
    for number, package in enumerate(packages, start=1):
        bench.assign(number, {"ring": package.package_id})
        bench.wait_active(package)
    bench.wait(lambda: not (bench.disk / "packages" / "ring" / packages[0].package_id).exists())
    assert (bench.disk / "packages" / "ring" / packages[1].package_id).exists()


def test_going_back_is_a_new_assignment_and_needs_no_download(bench: Bench) -> None:
    first, second = bench.built("first"), bench.built("second", scale=2.0)
    bench.start()
    for number, package in enumerate((first, second), start=1):
        bench.assign(number, {"ring": package.package_id})
        bench.wait_active(package)
    bench.server.is_reachable = False
    bench.assign(3, {"ring": first.package_id})
    bench.wait_active(first)
    assert bench.status().assignment_number == 3


def test_restart_loads_the_current_package_without_network(bench: Bench) -> None:
    package = bench.built("first")
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_active(package)
    bench.stop()
    bench.statuses.clear()
    bench.broker.retained.clear()
    bench.server.is_reachable = False
    asked = len(bench.server.requests)
    bench.start()
    bench.wait_active(package)
    assert bench.status().assignment_number == 1
    assert len(bench.server.requests) == asked


def test_package_on_disk_judges_while_a_newer_one_cannot_be_reached(bench: Bench) -> None:
    first, second = bench.built("first"), bench.built("second", scale=2.0)
    bench.start()
    bench.assign(1, {"ring": first.package_id})
    bench.wait_active(first)
    bench.stop()
    bench.server.is_reachable = False
    bench.assign(2, {"ring": second.package_id})
    bench.start()
    bench.wait(lambda: (row := bench.progress()) is not None and row.reason is REASON.UNREACHABLE)
    loaded = bench.slots.active("ring")
    assert loaded is not None
    assert loaded.package_id == first.package_id


def test_file_altered_on_disk_is_not_loaded_but_downloaded_again(bench: Bench) -> None:
    package = bench.built("first")
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_active(package)
    bench.stop()
    bench.statuses.clear()
    altered = bench.disk / "packages" / "ring" / package.package_id / "int8-u8s8.onnx"
    content = bytearray(altered.read_bytes())
    content[-1] ^= 1
    altered.write_bytes(bytes(content))
    bench.server.is_reachable = False
    bench.start()
    bench.wait(lambda: (row := bench.progress()) is not None and row.reason is REASON.UNREACHABLE)
    assert bench.slots.active("ring") is None
    bench.server.is_reachable = True
    bench.wait_active(package)


def test_removed_product_is_deactivated_also_after_a_restart(bench: Bench) -> None:
    ring, board = bench.built("ring"), bench.built("board", "board")
    bench.start()
    bench.assign(1, {"ring": ring.package_id, "board": board.package_id})
    bench.wait_active(ring)
    bench.wait_active(board, "board")
    bench.assign(2, {"board": board.package_id})
    bench.wait(lambda: bench.slots.products() == ["board"])
    bench.wait(lambda: [row.product for row in bench.status().packages] == ["board"])
    bench.stop()
    bench.statuses.clear()
    bench.start()
    bench.wait_active(board, "board")
    assert bench.slots.products() == ["board"]


def test_one_refused_product_does_not_hold_up_another(bench: Bench) -> None:
    board = bench.built("board", "board")
    bench.start()
    bench.assign(1, {"ring": "0" * 64, "board": board.package_id})
    bench.wait_active(board, "board")
    bench.wait_refused(REASON.SIGNATURE)


@pytest.mark.parametrize("name", ["manifest.json", "golden.npz", "int8-u8s8.onnx", "fp32.onnx"])
def test_altered_target_is_refused_and_the_old_package_judges_on(bench: Bench, name: str) -> None:
    first, second = _two_packages(bench)
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
    first, second = _two_packages(bench)
    bench.built("third", scale=3.0)
    name = "timestamp.json" if role == "timestamp" else f"{bench.server.version}.{role}.json"
    content = json.loads(bench.server.metadata(name).read_bytes())
    content["signed"]["expires"] = "2099-01-01T00:00:00Z"
    bench.server.replaced[f"metadata/{name}"] = json.dumps(content).encode()
    bench.assign(2, {"ring": second})
    bench.wait_refused(REASON.SIGNATURE)
    assert bench.store.slots("ring").current == first


def test_metadata_signed_by_a_foreign_key_is_refused(bench: Bench) -> None:
    _first, second = _two_packages(bench)
    bench.server.write(signer=CryptoSigner.generate_ed25519())
    bench.assign(2, {"ring": second})
    bench.wait_refused(REASON.SIGNATURE)


def test_expired_timestamp_is_refused(bench: Bench) -> None:
    _first, second = _two_packages(bench)
    bench.server.write(timestamp_expires=datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1))
    bench.assign(2, {"ring": second})
    bench.wait_refused(REASON.EXPIRED)


def test_older_metadata_is_refused(bench: Bench) -> None:
    _first, second = _two_packages(bench)
    old = bench.server.metadata("timestamp.json").read_bytes()
    third = bench.built("third", scale=3.0)
    bench.assign(2, {"ring": third.package_id})
    bench.wait_active(third)
    bench.server.replaced["metadata/timestamp.json"] = old
    bench.assign(3, {"ring": second})
    bench.wait_refused(REASON.ROLLBACK)


@pytest.mark.parametrize("path", ["metadata/timestamp.json", "targets"])
def test_endless_data_is_cut_off_and_refused(bench: Bench, path: str) -> None:
    _first, second = _two_packages(bench)
    bench.server.endless.add(f"targets/{second}/golden.npz" if path == "targets" else path)
    bench.assign(2, {"ring": second})
    bench.wait_refused(REASON.TOO_LARGE)


def test_package_beyond_the_byte_bound_is_refused(bench: Bench) -> None:
    package = bench.built("large", golden={"filler": np.random.default_rng(1).bytes(5 * 1024 * 1024)})
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_refused(REASON.TOO_LARGE)


def test_older_assignment_number_is_refused_and_status_names_the_running_one(bench: Bench) -> None:
    first, second = _two_packages(bench)
    bench.assign(5, {"ring": second})
    bench.wait(lambda: bench.status().assignment_number == 5 and bench.installer.counters.activated == 2)
    bench.assign(4, {"ring": first})
    bench.wait(lambda: bench.status().refused is REASON.ROLLBACK)
    assert bench.status().assignment_number == 5
    assert bench.store.slots("ring").current == second


def test_second_assignment_under_a_used_number_is_refused(bench: Bench) -> None:
    _first, second = _two_packages(bench)
    bench.assign(1, {"ring": second})
    bench.wait(lambda: bench.status().refused is REASON.ROLLBACK)


def test_number_is_remembered_over_a_restart(bench: Bench) -> None:
    _first, second = _two_packages(bench)
    bench.stop()
    bench.broker.retained.clear()
    bench.start()
    bench.assign(1, {"ring": second})
    bench.wait(lambda: bench.status().refused is REASON.ROLLBACK)


def test_repeated_assignment_changes_nothing(bench: Bench) -> None:
    _two_packages(bench)
    bench.broker.go_down()
    bench.broker.come_up()
    bench.wait(lambda: bench.installer.counters.assignments_repeated >= 1)
    assert bench.installer.counters.activated == 1
    assert bench.status().refused is None


def test_assignment_for_another_station_is_refused(bench: Bench) -> None:
    _first, second = _two_packages(bench)
    other = StationAddress(site="demo", line="line-1", station="st-2")
    bench.deliver(bench.server.seal(other, 9, {"ring": second}))
    bench.wait(lambda: bench.status().refused is REASON.WRONG_STATION)
    assert bench.status().assignment_number == 1


def test_expired_assignment_is_refused_under_its_own_number(bench: Bench) -> None:
    _first, second = _two_packages(bench)
    bench.assign(2, {"ring": second}, now=datetime.now(UTC) - timedelta(days=3))
    bench.wait(lambda: bench.status().refused is REASON.EXPIRED)
    assert bench.status().assignment_number == 2


def test_assignment_signed_by_a_foreign_key_is_refused(bench: Bench) -> None:
    _first, second = _two_packages(bench)
    bench.assign(2, {"ring": second}, signer=CryptoSigner.generate_ed25519())
    bench.wait(lambda: bench.status().refused is REASON.SIGNATURE)


@pytest.mark.parametrize("rubbish", [b"\xff\x00", b"{}", b"[]", b"null", b'{"payload": 1}', b"[" * 5000])
def test_rubbish_on_the_assignment_topic_is_refused(bench: Bench, rubbish: bytes) -> None:
    bench.start()
    bench.deliver(rubbish)
    bench.wait(lambda: bool(bench.statuses) and bench.status().refused is REASON.UNREADABLE)


def test_refusal_is_taken_back_when_the_valid_assignment_is_heard_again(bench: Bench) -> None:
    first, _second = _two_packages(bench)
    valid = bench.broker.retained[topic(STATION, Channel.ASSIGNMENT)]
    bench.deliver(b"{}")
    bench.wait(lambda: bench.status().refused is not None)
    bench.deliver(valid)
    bench.wait(lambda: bench.status().refused is None)
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


def test_unreachable_alone_is_retried(bench: Bench) -> None:
    package = bench.built("first")
    bench.server.is_reachable = False
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait(lambda: (row := bench.progress()) is not None and row.reason is REASON.UNREACHABLE)
    assert [fault.code for fault in bench.installer.faults()] == ["package-unreachable"]
    bench.wait(lambda: bench.installer.counters.retries >= 2)
    bench.server.is_reachable = True
    bench.wait_active(package)
    assert bench.installer.faults() == []


@pytest.mark.parametrize("status", [401, 500, 503])
def test_server_errors_are_retried(bench: Bench, status: int) -> None:
    package = bench.built("first")
    bench.server.status["metadata/timestamp.json"] = status
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait(lambda: (row := bench.progress()) is not None and row.reason is REASON.UNREACHABLE)
    bench.server.status.clear()
    bench.wait_active(package)


def test_newer_assignment_interrupts_a_download(bench: Bench) -> None:
    slow, good = bench.built("slow"), bench.built("good", scale=2.0)
    path = f"targets/{slow.package_id}/golden.npz"
    delivered: list[str] = []

    def assign_meanwhile(asked: str) -> None:
        if asked == path and not delivered:
            delivered.append(asked)
            bench.assign(2, {"ring": good.package_id})

    bench.server.on_request = assign_meanwhile
    bench.start()
    bench.assign(1, {"ring": slow.package_id})
    bench.wait_active(good)
    assert bench.installer.counters.activated == 1
    assert not (bench.disk / "packages" / "ring" / slow.package_id).exists()


def test_status_is_sent_again_after_the_broker_was_away(bench: Bench) -> None:
    _two_packages(bench)
    bench.broker.go_down(forget_retained=True)
    bench.statuses.clear()
    bench.broker.come_up()
    bench.wait(lambda: bool(bench.statuses))
    assert bench.status().assignment_number == 1


def test_old_session_serves_until_the_new_one_is_active(bench: Bench) -> None:
    seen: list[str | None] = []

    def watching(path: Path, *, provider: str, threads: int) -> InferenceSession:
        active = bench.slots.active("ring")
        seen.append(active.package_id if active else None)
        return open_session(path, provider=provider, threads=threads)

    bench.runtime = replace(bench.runtime, open_session=watching)
    first, second = bench.built("first"), bench.built("second", scale=2.0)
    bench.start()
    bench.assign(1, {"ring": first.package_id})
    bench.wait_active(first)
    bench.assign(2, {"ring": second.package_id})
    bench.wait_active(second)
    assert seen == [None, first.package_id]
