"""A run for a link takes what was driven over that link, and refuses by name who drives without, or over another."""

from pathlib import Path

import numpy as np
import pytest

from experience.environment import racing
from racing.link_model import LinkModel, link_text
from runtime.exit_codes import ExitCode
from tests.support.bridge_processes import bridge_process, stored_batches
from tests.support.moto_s3 import MotoS3, s3
from tests.support.policies import weights_update
from tests.support.receivers import receiver_process
from tests.support.runs import run_config
from train_cloud.store import Store

__all__ = ["s3"]
pytestmark = pytest.mark.slow

LINK = LinkModel((0.1, 0.1))


def test_only_cars_over_the_run_s_link_are_learned_from(s3: MotoS3, tmp_path: Path) -> None:
    config = run_config(
        bucket={"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url},
        listen_host="127.0.0.1",
        listen_port=0,
        max_lead_steps=10**9,
        link={"delays": list(LINK.delays)},
    )
    raced, other = racing(link=LINK), tmp_path / "other.json"
    (tmp_path / "link.json").write_text(link_text(LINK), encoding="utf-8")
    other.write_text(link_text(LinkModel((0.1, 0.2))), encoding="utf-8")
    drive = ["drive", "--car", "simulated", "--steps", "200", "--track", "seed:7:1200"]
    with receiver_process(config, tmp_path / "instance") as receiver:
        receiver.pairing()
        weights = weights_update(raced.signature, 1)
        store = Store(receiver.store_file)
        store.put_weights(weights.version, weights.blob, weights.sha256)
        store.close()
        for name, link in (("without", []), ("over another", ["--link", str(other)])):
            folder = tmp_path / name
            folder.mkdir()
            with bridge_process(receiver, folder, *drive, *link) as bridge:
                assert bridge.wait(100) not in (None, ExitCode.OK), name
            assert "--link FILE" in (folder / "bridge.log").read_text()
        assert stored_batches(receiver, raced.spaces.layout) == []
        with bridge_process(receiver, tmp_path, *drive, "--link", str(tmp_path / "link.json")) as bridge:
            assert bridge.wait(100) == ExitCode.OK, (tmp_path / "bridge.log").read_text()
        batches = stored_batches(receiver, raced.spaces.layout)
    assert sum(batch.steps for batch in batches) == 200
    assert np.concatenate([batch.actions for batch in batches]).shape == (200, 2)
