"""The whole way: a real receiver, trainer and bridge; who judges is who drives, and the verdict is in the metrics."""

import json
from pathlib import Path

import pytest

from experience.codec import decode_batch
from experience.environment import racing
from tests.support.moto_s3 import MotoS3, s3
from tests.support.site import BRIDGE, TRAINER, Site
from tests.support.waiting import wait_until

__all__ = ["s3"]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "by"), [([], "simulator"), (["--real-time"], "bridges")])
def test_a_checkpoint_is_judged_by_who_drives(tmp_path: Path, s3: MotoS3, options: list[str], by: str) -> None:
    with Site(tmp_path / "run", s3, save_frequency=200, updates_per_step=0.01) as site:
        site.start_receiver()
        site.wait_for_receiver()
        site.start_trainer()
        site.wait_for_trainer()
        site.start(
            BRIDGE, "bridge", "drive", "--car", "simulated", "--track", "seed:7:600", "--spool", site.spool, *options
        )
        told = f"by={by}"
        wait_until(lambda: told in site.log(TRAINER), "a checkpoint is judged", 120.0, 0.1)
        site.check_running(TRAINER, BRIDGE)
        other = "by=simulator" if by == "bridges" else "by=bridges"
        assert other not in site.log(TRAINER)

        def judged() -> bool:
            metrics = json.loads(site.objects.find("metrics.json") or b"{}")
            return bool(metrics.get("judged", {}).get("newest"))

        wait_until(judged, "metrics.json tells it", 60.0, 0.2)
        newest = json.loads(site.objects.get("metrics.json")[0])["judged"]["newest"]
        assert (newest["by"], newest["of_laps"]) == (by, 3)
        if by == "bridges":
            assert len(newest["clean_laps"]) == 1
            assert "it drives without exploration" in site.log(BRIDGE)
            layout = racing().spaces.layout
            stored = [decode_batch(row.blob, layout) for row in site.stored_batches()]
            assert any((batch.policy_versions == newest["version"]).any() for batch in stored)
