"""A batch that was stored is read by today's code to the values that were stored."""

from experience.codec import EpisodeRecord, LapRecord, decode_batch
from tests.experience.make_golden import GOLDEN


def test_a_stored_batch_of_version_2_is_read() -> None:
    batch = decode_batch(GOLDEN.read_bytes())
    observation, action = batch.layout.observation, batch.layout.action
    assert (observation.size, observation.dtype, observation.step) == (3, "float32", 1 / 4096)
    assert (action.size, action.dtype, action.step) == (2, "float32", 1 / 32768)
    assert batch.run_lengths.tolist() == [3, 2]
    assert batch.run_cars.tolist() == [0, 4]
    assert batch.run_first_steps.tolist() == [100, 1099511627776]
    assert batch.observations.tolist() == [
        [-2.0, -1.75, -1.5],
        [-1.25, -1.0, -0.75],
        [-0.5, -0.25, 0.0],
        [0.25, 0.5, 0.75],
        [1.0, 1.25, 1.5],
        [1.75, 2.0, 2.25],
        [2.5, 2.75, 3.0],
    ]
    assert batch.actions.tolist() == [[0.5, -0.5], [0.25, 0.0], [-1.0, 1 / 32768], [0.0, 0.0], [0.75, 0.125]]
    assert [f"{reward:.6g}" for reward in batch.rewards] == ["0.1", "-2", "0.5", "3.25", "0.001"]
    assert batch.terminated.tolist() == [False, False, True, False, False]
    assert batch.truncated.tolist() == [False, False, False, False, True]
    assert batch.late.tolist() == [False, True, False, False, False]
    assert batch.policy_versions.tolist() == [0, 7, 7, 8, 4294967295]
    assert batch.action_ages.tolist() == [0.0, 1 / 8192, 0.125, 0.5, 1.0]
    assert batch.laps == (LapRecord(1, 91.0625, True), LapRecord(4, 88.5, False))
    assert batch.episodes == (EpisodeRecord(2, 812, -3.25, "crash"), EpisodeRecord(4, 2, 3.25, "time"))
