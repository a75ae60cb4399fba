"""Jobs that live together end together, and what one raised is raised."""

import asyncio

import pytest

from runtime.together import until_one_ends


async def _for_ever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        # Whoever ends may need a moment.
        await asyncio.sleep(0)
        ended.append("ended")


async def _returns() -> None:
    await asyncio.sleep(0)


async def _raises() -> None:
    await asyncio.sleep(0)
    raise ConnectionError("hung up")


def test_the_others_have_ended_when_one_returned() -> None:
    ended: list[str] = []
    asyncio.run(until_one_ends(_for_ever(ended), _returns(), _for_ever(ended)))
    assert ended == ["ended", "ended"]


def test_what_one_raised_is_raised_when_the_others_have_ended() -> None:
    ended: list[str] = []
    with pytest.raises(ConnectionError, match="hung up"):
        asyncio.run(until_one_ends(_for_ever(ended), _raises()))
    assert ended == ["ended"]


def test_whoever_waits_may_be_cancelled() -> None:
    ended: list[str] = []

    async def cancelled() -> None:
        waits = asyncio.ensure_future(until_one_ends(_for_ever(ended)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits

    asyncio.run(cancelled())
    assert ended == ["ended"]
