"""The asyncio client: the same steps, awaited."""

import asyncio

import pytest
from conftest import LONG, TINY
from cut_off import CutOff
from server import MODEL

import quantd
from quantd import AsyncClient, Client


def test_from_a_model_to_a_folder(server, tmp_path):
    async def go():
        async with AsyncClient(server.address) as client:
            job = await client.quantize(MODEL, **TINY)
            sequences = [event.sequence async for event in job.events()]
            assert sequences == list(range(1, len(sequences) + 1))
            await job.wait()
            folder = await job.download(tmp_path / "out")
            report = await job.report()
            assert quantd.Report.load(folder) == report
            assert job.name in [one.name async for one in client.jobs(limit=5)]
            assert (await client.capabilities()).methods["rtn"]
            assert (await client.validate(MODEL, **TINY)).family == "llama"
            assert len(await client.workers()) == 1

    asyncio.run(go())


def test_many_jobs_at_once_in_one_loop(server):
    async def go():
        async with AsyncClient(server.address) as client:
            async def one(bits):
                job = await client.quantize(MODEL, **{**TINY, "bits": bits})
                return (await job.wait()).result.bits_per_weight

            assert await asyncio.gather(*map(one, (3, 4, 8))) == [3.125, 4.125, 8.125]

    asyncio.run(go())


def test_waiting_can_be_cancelled(server):
    async def go():
        async with AsyncClient(server.address) as client:
            job = await client.quantize(MODEL, **LONG)
            waiting = asyncio.ensure_future(job.wait())
            async for _ in job.events():
                break
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(quantd.WaitTimeout):
                await job.wait(timeout=0.2)
            await job.cancel()
            with pytest.raises(quantd.JobCancelled):
                await job.wait()
            await job.delete()
            with pytest.raises(quantd.NotFound):
                await client.job(job.name)

    asyncio.run(go())


def test_cuts_are_survived(server, done, tmp_path):
    cut = CutOff(server.address)
    cut.limits = [700, 50_000, 300_000, 700_000]

    async def go():
        async with AsyncClient(cut.address) as client:
            job = await client.job(done)
            sequences = [event.sequence async for event in job.events()]
            assert sequences == list(range(1, len(sequences) + 1))
            await job.download(tmp_path / "out")
            with pytest.raises(quantd.InvalidRequest):
                await client.quantize(MODEL, method="rtn", group_size=13)

    asyncio.run(go())
    assert cut.connections > 3
    cut.close()


def test_both_clients_have_the_same_names():
    def names(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    assert names(Client) == names(AsyncClient)
    assert names(quantd.Job) == names(quantd.AsyncJob)
