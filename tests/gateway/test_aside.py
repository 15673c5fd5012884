"""Work aside comes to its end whoever left, and what it fails with is told."""

import asyncio

from tests.support.waiting import until

from verismo.gateway.aside import Aside


async def test_drain_waits_for_work_whose_request_is_over():
    lost: list[BaseException] = []
    aside, let_go, done = Aside(lost.append), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await let_go.wait()
        done.set()

    async def request() -> None:
        aside.spawn(work())
        await asyncio.Event().wait()

    asking = asyncio.create_task(request())
    await asyncio.wait({asking}, timeout=0.01)
    asking.cancel()
    draining = asyncio.create_task(aside.drain())
    finished, _ = await asyncio.wait({draining}, timeout=0.01)
    assert not finished
    let_go.set()
    await draining
    assert done.is_set()
    assert lost == []


async def test_what_work_fails_with_is_told():
    lost: list[BaseException] = []
    aside, error = Aside(lost.append), OSError("disk")

    async def work() -> None:
        raise error

    aside.spawn(work())
    await until(lambda: bool(lost))
    assert lost == [error]
    await aside.drain()
