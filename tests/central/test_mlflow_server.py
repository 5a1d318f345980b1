# SPDX-License-Identifier: Apache-2.0
"""The export against a real MLflow tracking server: what arrives, again, after going on, after a kill half-way."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from central import mlflow_client
from central.mlflow_client import MlflowClient, MlflowError
from central.mlflow_export import Exported, export, runs_of
from central.mlflow_runs import DIGEST_TAG, Metric
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, TrainingState
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.mlflow_server import mlflow_server
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.trainers import end_trainings

# The environment is made on first use.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("mlflow")]


@pytest.fixture(name="url", scope="module")
def _url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(name="bench")
def _bench(sqlite_database: Any, publisher: RememberingPublisher, clock: StillClock, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(sqlite_database, publisher, clock, tmp_path)
    yield bench
    end_trainings(bench.trainings_dir)
    for child in bench.children:
        child.wait()


def bring(bench: Bench, url: str, *, is_dry: bool = False) -> tuple[int, int, int]:
    done = Exported()
    with MlflowClient(url) as client:
        export(client, runs_of(bench.database, None, None), done, is_dry=is_dry)
    return done.new, done.updated, done.unchanged


def there(url: str) -> dict[str, dict[str, Any]]:
    """Runs of our experiment, by name, as MLflow itself tells them."""
    found = httpx.get(
        f"{url}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": f"sightline/{PRODUCT} (simulated)"}
    )
    if found.status_code == 404:
        return {}
    wanted = {"experiment_ids": [found.json()["experiment"]["experiment_id"]], "max_results": 100}
    runs = httpx.post(f"{url}/api/2.0/mlflow/runs/search", json=wanted).json().get("runs", [])
    return {run["info"]["run_name"]: run for run in runs}


def words(run: dict[str, Any], kind: str) -> dict[str, Any]:
    return {each["key"]: each.get("value") for each in run["data"].get(kind, [])}


def history(url: str, run: dict[str, Any], key: str) -> list[tuple[int, float]]:
    asked = {"run_id": run["info"]["run_id"], "metric_key": key}
    told = httpx.get(f"{url}/api/2.0/mlflow/metrics/get-history", params=asked).json()
    return [(each["step"], each["value"]) for each in told["metrics"]]


def forget(url: str) -> None:
    """Each test its own runs: those of the one before go."""
    for run in there(url).values():
        httpx.post(f"{url}/api/2.0/mlflow/runs/delete", json={"run_id": run["info"]["run_id"]})


def test_what_arrives_is_what_was_trained_and_again_adds_nothing(bench: Bench, url: str) -> None:
    forget(url)
    bench.commission("st-1")
    (training,) = bench.trainings()
    shutil.rmtree(bench.trainings_dir)
    assert bring(bench, url, is_dry=True) == (1, 0, 0)
    assert there(url) == {}
    assert bring(bench, url) == (1, 0, 0)
    (run,) = there(url).values()
    assert (run["info"]["run_name"], run["info"]["status"]) == (training.training_id, "FINISHED")
    params, tags, metrics = words(run, "params"), words(run, "tags"), words(run, "metrics")
    assert (params["seed"], params["size_px"], params["limits.overkill_target_rate"]) == ("0", "256", "0.01")
    assert params["labels.TRAIN.GOOD.parts"].isdigit()
    assert len(params["job_sha256"]) == 64
    assert (tags["sightline.dataset_id"], tags["sightline.gate"]) == (training.dataset_id, "PROMOTED")
    assert tags["sightline.machine.libraries.torch"] == "2.13.0"
    assert tags["sightline.rollouts"].startswith("1 ")
    assert (metrics["int8-u8s8.image_auroc"], metrics["unnamed.missed"]) == (0.97, 0.0)
    assert history(url, run, "head loss") == [(1, 0.9), (2, 0.4)]
    assert bring(bench, url) == (0, 0, 1)
    assert len(there(url)) == 1
    assert history(url, there(url)[training.training_id], "head loss") == [(1, 0.9), (2, 0.4)]


def test_a_training_that_went_on_is_brought_up_to_date_in_its_own_run(bench: Bench, url: str) -> None:
    forget(url)
    bench.build("slow")
    bench.add_references(good=20)
    bench.add_label(Judgement.DEFECTIVE, LabelSource.REFERENCE, "<öd,d>")
    training_id = bench.learning.requests.request(PRODUCT, DetectorKind.AUTO, "later", bench.clock.now())
    assert bring(bench, url) == (1, 0, 0)
    waiting = there(url)[training_id]
    assert (waiting["info"]["status"], words(waiting, "params"), words(waiting, "metrics")) == ("SCHEDULED", {}, {})
    bench.tick_until(lambda: bench.trainings()[0].stage == "fitting")
    assert bring(bench, url) == (0, 1, 0)
    running = there(url)[training_id]
    # Metrics come once the training is over: MLflow takes none back.
    assert (running["info"]["status"], words(running, "metrics")) == ("RUNNING", {})
    (bench.trainings_dir / training_id / "go").touch()
    bench.tick_until(lambda: bench.trainings()[0].state is TrainingState.FINISHED)
    assert bring(bench, url) == (0, 1, 0)
    (run,) = there(url).values()
    assert run["info"]["run_id"] == waiting["info"]["run_id"]
    assert (run["info"]["status"], words(run, "params")["seed"]) == ("FINISHED", "0")
    assert "int8-u8s8.image_auroc" in words(run, "metrics")
    assert run["info"]["end_time"] > 0


def test_an_export_that_was_cut_short_is_finished_by_the_next(bench: Bench, url: str) -> None:
    forget(url)
    bench.commission("st-1")
    (run,) = runs_of(bench.database, None, None)
    with MlflowClient(url) as client:
        experiment_id = client.find_experiment(run.experiment) or client.create_experiment(run.experiment)
        run_id = client.create_run(experiment_id, run.training_id, run.start_ms, run.tags)
        client.log(run_id, dict(list(run.params.items())[:3]), run.metrics[:5], {})
    assert DIGEST_TAG not in words(there(url)[run.training_id], "tags")
    assert bring(bench, url) == (0, 1, 0)
    found = there(url)[run.training_id]
    assert found["info"]["run_id"] == run_id
    assert words(found, "params") == run.params
    assert set(words(found, "metrics")) == {each.key for each in run.metrics}
    for key in {each.key for each in run.metrics}:
        wanted = [(each.step, each.value) for each in run.metrics if each.key == key]
        assert history(url, found, key) == wanted
    assert bring(bench, url) == (0, 0, 1)


def test_more_than_one_request_takes_arrives_whole(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"many {time.monotonic_ns()}"
    with MlflowClient(url) as client:
        experiment_id = client.create_experiment(name)
        run_id = client.create_run(experiment_id, "t-many", 1, {})
        params = {f"p{index}": "x" * 5_000 for index in range(230)}
        metrics = [Metric("loss", float(step), step, 5) for step in range(2_100)]
        tags = {f"t{index}": "y" * 5_000 for index in range(230)}
        client.log(run_id, params, metrics, tags)
        (run,) = [each for each in client.find_runs(experiment_id, "t7") if each["info"]["run_id"] == run_id]
        assert words(run, "params") == params
        assert len(history(url, run, "loss")) == 2_100
        assert list(client.find_runs(experiment_id, "absent")) == []
        more = {client.create_run(experiment_id, f"t-{index}", 1, {"t7": "y"}) for index in range(3)}
        monkeypatch.setattr(mlflow_client, "_RUNS_A_PAGE", 2)
        found = [each["info"]["run_id"] for each in client.find_runs(experiment_id, "t7")]
        assert sorted(found) == sorted({run_id, *more})
        httpx.post(f"{url}/api/2.0/mlflow/experiments/delete", json={"experiment_id": experiment_id})
        with pytest.raises(MlflowError, match=r"was deleted there; restore it"):
            client.find_experiment(name)
        with pytest.raises(MlflowError, match=r"RESOURCE_DOES_NOT_EXIST|INVALID"):
            client.update_run("no-such-run", "FINISHED", None)
