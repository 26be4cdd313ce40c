"""Models and texts of this machine, sent, gone on with, used."""

import asyncio

import pytest
from conftest import TINY
from cut_off import CutOff
from server import MODEL

import quantd
from quantd import AsyncClient, Client


def test_a_model_and_a_text_are_sent_and_used(make_server, tmp_path):
    server = make_server()
    text = tmp_path / "Some_Text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 2000)
    with Client(server.address) as client:
        sent = []
        model = client.push_model(MODEL, on_bytes=lambda file, count: sent.append(count))
        assert model.name == "models/books-3m" and model.ready
        assert sum(sent) == model.bytes
        assert client.push_model(MODEL, on_bytes=lambda *_: pytest.fail("sent twice")) == model
        dataset = client.push_dataset(text)
        assert dataset.name == "datasets/some-text"
        job = client.quantize(model, **TINY, evaluation=dataset).wait()
        assert job.snapshot.message.spec.evaluation.dataset.uploaded == dataset.name
        again = client.quantize("models/books-3m", **TINY, evaluation=dataset)
        assert again.name == job.name and again.snapshot.reused
        other = client.quantize(model, **TINY, evaluation=dataset, no_cache=True)
        assert other.name != job.name
        other.wait()
        assert [one.name for one in client.uploads()] == [model.name]
        client.delete_upload(dataset.name)
        assert client.uploads("datasets") == []
        client.push_dataset(text, name="x")
        text.write_text("other")
        with pytest.raises(quantd.AlreadyExists):
            client.push_dataset(text, name="x")


def test_cuts_are_survived(make_server):
    server = make_server(workers=0)
    cut = CutOff(server.address)
    cut.upward = [200_000, 900_000, 2_500_000]
    with Client(cut.address) as client:
        assert client.push_model(MODEL).ready
    assert cut.connections > 3
    cut.close()


def test_awaited(make_server):
    server = make_server(workers=0)

    async def go():
        async with AsyncClient(server.address) as client:
            assert (await client.push_model(MODEL, name="mine")).name == "models/mine"
            assert len(await client.uploads()) == 1

    asyncio.run(go())


def test_nothing_to_send(tmp_path):
    with Client("127.0.0.1:9") as client:
        with pytest.raises(quantd.NotFound):
            client.push_model(tmp_path)
        with pytest.raises(quantd.NotFound):
            client.push_dataset(tmp_path)
