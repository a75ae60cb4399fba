"""Anybody can have a run's policy judged: by its run.json, a fetched folder, a name, or what the bucket holds."""

from pathlib import Path

import msgspec
import pytest

from racing.track_text import track_hash, track_text
from tests.support.judged import TRACK, checkpoint, lapped
from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import run_config
from train_cloud.evaluate import main, run_file
from train_cloud.open_store import open_store
from train_cloud.run_folder.keys import BEST, LATEST, MANIFEST, POLICY, TRACKS
from train_cloud.trainer.saving.manifest import Best

__all__ = ["s3"]


@pytest.fixture
def run_json(tmp_path: Path, s3: MotoS3, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose newest checkpoint stands and whose best laps, on a track that the bucket holds."""
    monkeypatch.chdir(tmp_path)
    objects = open_store(s3.bucket, "runs/test-run/")
    best, newest = checkpoint(200, True), checkpoint(300, False)
    for made in (best, newest):
        for name, data in made.files.items():
            objects.put(made.manifest.folder + name, data)
        objects.put(made.manifest.folder + MANIFEST, made.manifest_bytes)
    objects.put(LATEST, newest.manifest_bytes)
    objects.put(BEST, msgspec.json.encode(Best(manifest=best.manifest, verdict=lapped(200))))
    text = track_text(TRACK)
    objects.put(f"{TRACKS}{track_hash(text)}.json", text)
    file = tmp_path / "run.json"
    file.write_bytes(msgspec.json.encode(run_config(bucket=msgspec.to_builtins(s3.bucket))))
    return file


@pytest.mark.slow
def test_the_best_of_the_bucket_laps_from_every_start(run_json: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run", str(run_json)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "the best checkpoint of test-run, at 200 steps, on ring, 157 m"
    assert said[1:4] == [f"start {k} of 3: 3 of 3 laps clean" for k in (1, 2, 3)]
    assert said[4].startswith("best lap: 0:11.")
    assert "the reference driver's: 0:" in said[4]
    assert said[4].endswith("%)")


@pytest.mark.slow
def test_a_policy_that_fails_is_told_where_and_the_exit_code_says_so(
    run_json: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_json.parent / "models" / "mine" / "300"
    (folder.parent / "20").mkdir(parents=True)
    folder.mkdir()
    (folder / "run.json").write_bytes(run_json.read_bytes())
    (folder / POLICY).write_bytes(checkpoint(300, False).files[POLICY])
    for name in ("mine", str(folder), str(folder.parent)):
        assert run_file(name).resolve() == folder / "run.json"
    assert main(["--run", "mine", "--starts", "2", "--laps", "1"]) == 1
    said = capsys.readouterr().out
    assert "start 2 of 2: 0 of 1 laps clean, then " in said
    assert "best lap: none yet" in said
    assert main(["--run", "mine", "--policy", str(folder / "nothing")]) == 2
    assert "nothing cannot be read" in capsys.readouterr().err


def test_what_cannot_be_judged_is_told_in_a_sentence(
    run_json: Path, s3: MotoS3, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run", "nobody"]) == 2
    assert "There is no run 'nobody'" in capsys.readouterr().err
    assert main(["--run", str(run_json), "--track", "0" * 64]) == 2
    assert "no such one among its tracks" in capsys.readouterr().err
    assert main(["--run", str(run_json), "--track", "seed:nine"]) == 2
    other = run_json.with_name("other.json")
    other.write_bytes(
        msgspec.json.encode(
            run_config(bucket=msgspec.to_builtins(s3.bucket), environment={"kind": "gymnasium", "id": "Pendulum-v1"})
        )
    )
    assert main(["--run", str(other)]) == 2
    assert "has no laps to judge a policy by" in capsys.readouterr().err
    s3.fail()
    assert main(["--run", str(run_json)]) == 5
