"""What follows the trainer's orderly end."""

import pytest

from tests.support.instance import InstanceSite
from tests.support.instance import site as site
from train_cloud.instance.endings import end_when_done
from train_cloud.object_store import ObjectStoreUnavailable


def test_a_done_run_ends_the_instance(site: InstanceSite) -> None:
    site.put("DONE", b"{}")
    assert end_when_done(site.deployment(), patience_seconds=0.0)
    assert site.ending()[0] == "finished"


@pytest.mark.parametrize(("more", "ends"), [(0, True), (-1, True), (1, False)])
def test_a_run_that_finished_with_fewer_steps_goes_on(site: InstanceSite, more: int, ends: bool) -> None:
    deployment = site.deployment()
    site.put("DONE", b'{"total_timesteps": %d}' % (deployment.run.total_timesteps - more))
    assert end_when_done(deployment, patience_seconds=0.0) is ends
    assert bool(site.ending()) is ends


def test_a_trainer_that_was_only_stopped_ends_nothing(site: InstanceSite) -> None:
    assert not end_when_done(site.deployment(), patience_seconds=0.0)
    assert site.ending() == []


def test_a_bucket_that_is_silent_decides_nothing(site: InstanceSite) -> None:
    site.down.add("s3")
    with pytest.raises(ObjectStoreUnavailable):
        end_when_done(site.deployment(), patience_seconds=0.0)
    assert site.ending() == []
