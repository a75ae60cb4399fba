"""`make fetch` brings home the newest checkpoint whose hashes are right, with what a run needs to go on by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.fetch import fetch
from tests.support.judged import lapped
from tests.support.operated import BUCKET, RUN_ID, Operated, operated
from tests.support.runs import run_config
from train_cloud.run_config import load_run_config
from train_cloud.run_folder.keys import BEST, CHECKPOINTS, LATEST, MANIFEST
from train_cloud.trainer.saving.manifest import Best, FileEntry, Manifest

__all__ = ["operated"]


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(operated: Operated, steps: int) -> Manifest:
    """Put a checkpoint into the bucket, as the trainer does."""
    files = {"model.zip": b"model at %d" % steps, "policy.safetensors": b"policy"}
    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    manifest = Manifest(folder=f"{CHECKPOINTS}{steps:012d}-abcdef01/", steps=steps, updates=1, files=entries)
    for name, data in files.items():
        operated.objects.put(manifest.folder + name, data)
    for key in (manifest.folder + MANIFEST, LATEST):
        operated.objects.put(key, msgspec.json.encode(manifest))
    return manifest


def test_the_newest_checkpoint_lands_in_a_folder_of_its_own(operated: Operated) -> None:
    save(operated, 20_000)
    save(operated, 40_000)
    operated.objects.put("metrics.json", b'{"steps": 41000}')
    said = operated.run(fetch)
    folder = Path("models") / RUN_ID / "40000"
    assert said.code == ExitCode.OK, said.err
    assert f"{folder}: the checkpoint at 40,000 steps, 2 files" in said.out
    assert (folder / "model.zip").read_bytes() == b"model at 40000"
    assert json.loads((folder / "metrics.json").read_bytes()) == {"steps": 41000}
    assert operated.run(fetch).code == ExitCode.OK, "a second fetch replaces the first"


def test_the_best_checkpoint_is_fetched_where_there_is_one_and_the_newest_on_request(operated: Operated) -> None:
    best = Best(manifest=save(operated, 20_000), verdict=lapped(20_000, best=31.5))
    save(operated, 40_000)
    operated.objects.put(BEST, msgspec.json.encode(best))
    said = operated.run(fetch)
    assert f"{Path('models') / RUN_ID / '20000'}: the best checkpoint at 20,000 steps, 2 files" in said.out
    assert "3 laps from each of 3 starts: 3+3+3 clean in a row, the best in 31.50 s." in said.err
    assert "NEWEST=1" in said.err
    said = operated.run(fetch, "--newest")
    assert f"{Path('models') / RUN_ID / '40000'}: the checkpoint at 40,000 steps, 2 files" in said.out
    operated.objects.put(best.manifest.folder + "policy.safetensors", b"damaged")
    said = operated.run(fetch)
    assert "THE BEST CHECKPOINT IS DAMAGED" in said.err
    assert "the checkpoint at 40,000 steps" in said.out


def test_the_runs_own_configuration_comes_along_without_the_instances_address_and_gpu(operated: Operated) -> None:
    save(operated, 20_000)
    own = run_config(run_id=RUN_ID, bucket={"name": BUCKET}, method="tqc", public_host="203.0.113.7")
    operated.objects.put("run.json", msgspec.json.encode(own))
    assert operated.run(fetch, "--to", "here").code == ExitCode.OK
    config = load_run_config("here/run.json")
    assert config == msgspec.structs.replace(own, public_host="127.0.0.1", device="auto")


def test_without_the_runs_own_configuration_the_defaults_are_said_to_be_ones(operated: Operated) -> None:
    save(operated, 20_000)
    said = operated.run(fetch, "--to", "here")
    assert "the one that is written here has the defaults" in said.err
    config = load_run_config("here/run.json")
    assert (config.run_id, config.bucket.name, config.total_timesteps) == (RUN_ID, BUCKET, 200_000)


def test_a_damaged_checkpoint_is_passed_over_loudly(operated: Operated) -> None:
    save(operated, 20_000)
    newest = save(operated, 40_000)
    operated.objects.put(newest.folder + "model.zip", b"something else")
    said = operated.run(fetch)
    assert "THE NEWEST CHECKPOINT IS DAMAGED" in said.err
    assert (Path("models") / RUN_ID / "20000" / "model.zip").read_bytes() == b"model at 20000"


def test_a_run_without_checkpoint_leaves_no_folder(operated: Operated) -> None:
    said = operated.run(fetch)
    assert said.code == ExitCode.FAILED
    assert "has no checkpoint yet" in said.err
    assert not Path("models").exists()


def test_a_folder_of_somebody_else_is_not_touched(operated: Operated) -> None:
    save(operated, 20_000)
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years")
    said = operated.run(fetch, "--to", "mine")
    assert said.code == ExitCode.FAILED
    assert "holds something that no fetch wrote" in said.err
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]
