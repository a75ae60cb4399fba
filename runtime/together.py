"""Jobs of one event loop that live and end together."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def until_one_ends(*jobs: Coroutine[Any, Any, object]) -> None:
    """Run `jobs` side by side until one ends, and raise what it raised; the others are cancelled, and have ended."""
    work = [asyncio.ensure_future(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
