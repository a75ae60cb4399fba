"""How many updates are owed when a run goes on with other settings than before."""

from typing import Any

import pytest

from tests.support.runs import run_config
from train_cloud.trainer.pace import Pace, most_owed, pace_of


def test_a_new_run_owes_nothing_until_learning_starts() -> None:
    pace = pace_of(run_config(updates_per_step=0.5, learning_starts=100), None, 0, 0)
    assert [pace.asked(steps) for steps in (0, 100, 102, 300)] == [0, 0, 1, 100]
    assert (pace.trained(0), pace.trained(100)) == (100, 300)


@pytest.mark.parametrize("ratio", [0.25, 4.0])
@pytest.mark.parametrize("learning_starts", [0, 2_000, 150_000])
def test_other_settings_count_from_where_the_run_stands(ratio: float, learning_starts: int) -> None:
    began = run_config(updates_per_step=1.0, learning_starts=1_000)
    before = pace_of(began, None, 0, 0)
    updates = before.asked(20_000)
    after = pace_of(run_config(updates_per_step=ratio, learning_starts=learning_starts), before, 20_000, updates)
    assert after.asked(20_000) == updates
    assert after.asked(20_100) == updates + 100 * ratio
    assert after.trained(updates) == 20_000
    assert pace_of(began, after, 20_100, updates + 10).asked(20_200) == updates + 110


def test_the_same_settings_go_on_owing_what_was_owed() -> None:
    config = run_config(updates_per_step=0.5, learning_starts=100)
    pace = pace_of(config, None, 0, 0)
    assert pace_of(config, pace, 5_000, 10) is pace
    changed = pace_of(run_config(updates_per_step=2.0, learning_starts=100), pace, 5_000, 2_450)
    assert pace_of(run_config(updates_per_step=2.0, learning_starts=100), changed, 6_000, 2_500) is changed


def test_what_is_forgiven_is_asked_for_no_more_and_its_steps_are_kept_up_with() -> None:
    config = run_config(updates_per_step=4.0, learning_starts=100)
    pace = pace_of(config, None, 0, 0)
    assert (pace.asked(1_100), pace.trained(400)) == (4_000, 200)
    forgiving = pace.forgiving(3_000).forgiving(200)
    assert (forgiving.asked(1_100), forgiving.trained(400)) == (800, 1_000)
    assert forgiving.asked(1_200) == 1_200, "what comes is asked for as before"
    assert pace_of(config, forgiving, 1_100, 400) is forgiving, "a resumed run keeps it"


def test_what_a_simulated_car_may_lead_by_is_never_forgiven() -> None:
    def owed(demonstrations: int = 0, **settings: Any) -> int:
        config = run_config(**settings)
        return most_owed(config, pace_of(config, None, 0, 0, demonstrations))

    assert owed() == 20_000
    assert owed(max_updates_owed=10) == 2 * 2_000
    assert owed(updates_per_step=20.0) == 2 * 20 * 2_000
    assert owed(1, updates_per_step=2.0, demonstration_updates=10.0) == 2 * 20 * 2_000


def test_a_run_without_an_update_collects_as_much_as_it_is_told_to() -> None:
    before = pace_of(run_config(learning_starts=1_000), None, 0, 0)
    assert pace_of(run_config(learning_starts=5_000), before, 900, 0).from_steps == 5_000
    assert pace_of(run_config(learning_starts=10), before, 900, 0).from_steps == 900


def test_a_checkpoint_of_an_earlier_version_goes_on_as_it_was() -> None:
    config = run_config(updates_per_step=1.0, learning_starts=1_000)
    assert pace_of(config, None, 20_000, 18_990).asked(20_000) == 19_000
    for updates in (3_000, 90_000):
        assert pace_of(config, None, 20_000, updates) == Pace(
            updates_per_step=1.0, learning_starts=1_000, from_steps=20_000, from_updates=updates
        )


def test_demonstrations_owe_no_update_and_stand_in_for_what_is_collected_first() -> None:
    pace = pace_of(run_config(updates_per_step=0.5, learning_starts=100), None, 0, 0)
    assert [pace.asked(0, shown) for shown in (0, 60, 100, 5_000)] == [0, 0, 0, 0]
    assert [pace.asked(40, shown) for shown in (0, 60, 80, 100, 5_000)] == [0, 0, 10, 20, 20]
    assert pace.trained(20, 5_000) == 40
    assert pace.trained(pace.asked(300, 60), 60) == 300


def test_other_settings_owe_nothing_for_demonstrations_either() -> None:
    before = pace_of(run_config(learning_starts=100, demonstration_updates=1.0), None, 0, 0)
    updates = before.asked(500, 400)
    after = pace_of(run_config(learning_starts=200, demonstration_updates=1.0), before, 500, updates, 400)
    assert (after.asked(500, 400), after.asked(510, 400)) == (updates, updates + 10)
    assert after.trained(updates, 400) == 500


def test_more_updates_are_asked_for_from_where_the_first_demonstration_comes() -> None:
    config = run_config(learning_starts=100, updates_per_step=0.5, demonstration_updates=4.0)
    alone = pace_of(config, None, 0, 0)
    updates = alone.asked(1_000)
    helped = pace_of(config, alone, 1_000, updates, 600)
    assert (helped.asked(1_000, 600), helped.asked(1_010, 600)) == (updates, updates + 20)
    assert pace_of(config, helped, 1_200, updates, 700) is helped, "the second one changes nothing"
    assert pace_of(config, None, 0, 0, 600).asked(10, 600) == 20, "before the first step it is so from the start"
    unused = run_config(learning_starts=100, updates_per_step=0.5, demonstration_updates=4.0, demonstration_share=0.0)
    assert pace_of(unused, alone, 1_000, updates, 600) is alone, "where they are not learned from, they help nobody"
