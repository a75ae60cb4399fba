"""Frames wait in the spool, none lost; or the newest is at hand and older ones are dropped."""

import asyncio
from pathlib import Path

from bridge.spool import Spool
from bridge.stream.sinks import Keeper, Newest, batch_of
from tests.support.telemetry import frame
from tests.support.waiting import wait_until


def test_the_newest_wins_and_what_was_dropped_is_counted() -> None:
    async def told() -> list[float | None]:
        newest = Newest()
        for index in range(3):
            newest.put(frame(index))
        looking = asyncio.create_task(newest.keep_looking())
        heard = [(await newest.next()).time]
        await newest.sent(100)
        waiting = asyncio.create_task(newest.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.to_thread(newest.put, frame(3))
        heard.append((await waiting).time)
        # A cut takes this one.
        assert newest.lost == 3
        looking.cancel()
        return heard

    assert asyncio.run(told()) == [2.0, 3.0]


def test_kept_frames_are_committed_in_batches_and_the_rest_at_the_end(tmp_path: Path) -> None:
    commits = []
    with Spool(tmp_path) as spool:
        keeper = Keeper(spool, 4, lambda: commits.append(1))
        for index in range(10):
            keeper.put(frame(index))
        wait_until(lambda: spool.last_number == 2, "two batches are full")
        keeper.close()
        blobs = [spool.read(number) for number in (1, 2, 3)]
        batches = [batch_of(number, blob.blob) for number, blob in enumerate(blobs, 1) if blob is not None]
        assert [len(batch.frames) for batch in batches] == [4, 4, 2]
        assert [one.time for batch in batches for one in batch.frames] == [float(index) for index in range(10)]
        assert (keeper.lost, spool.total_steps) == (0, 10)
        assert commits


def test_a_batch_that_does_not_fill_is_committed_all_the_same(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        keeper = Keeper(spool, 100, lambda: None)
        keeper.put(frame(0))
        wait_until(lambda: spool.last_number == 1, "the part of a batch is on the disk")
        keeper.close()
        assert (spool.last_number, spool.total_steps) == (1, 1)


def test_a_full_spool_loses_nothing_while_room_comes_and_says_what_it_lost(tmp_path: Path) -> None:
    with Spool(tmp_path, limit_bytes=1500) as spool:
        keeper = Keeper(spool, 2, lambda: None)
        for index in range(20):
            keeper.put(frame(index))
        wait_until(lambda: spool.used_bytes > 1000, "the spool is nearly full")
        kept = spool.last_number
        assert kept < 10
        spool.forget_through(spool.stream, kept)
        wait_until(lambda: spool.last_number > kept, "room was used")
        keeper.close()
        assert keeper.lost > 0
        assert keeper.lost + spool.total_steps == 20
