"""Micro-batching: what waits is answered together, in its order, and nobody waits for nobody."""

import asyncio
import threading

import pytest

from components.serve.batching import Batcher, FullError


def asked(work, items, **limits):
    """The answers to items of one row each that come at once, by the batches that `work` was given."""

    async def run():
        batcher = Batcher(work, **({"most_rows": 4, "queue_rows": 100} | limits))
        found = await asyncio.gather(*(batcher.ask(one, 1) for one in items), return_exceptions=True)
        await batcher.drained()
        batcher.close()
        return found

    return asyncio.run(run())


def test_an_idle_model_answers_at_once_and_a_busy_one_takes_what_waits():
    batches = []

    def work(items):
        batches.append(list(items))
        return [one * 10 for one in items]

    assert asked(work, range(10)) == [one * 10 for one in range(10)]
    assert batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]
    batches.clear()
    asked(work, range(3), most_rows=1)
    assert batches == [[0], [1], [2]]


def test_an_answer_that_is_an_error_is_raised_where_it_was_asked_for():
    def work(items):
        return [ValueError("odd") if one % 2 else one for one in items]

    found = asked(work, range(4))
    assert found[0::2] == [0, 2]
    assert all(isinstance(one, ValueError) for one in found[1::2])

    def broken(items):
        raise RuntimeError("all")

    assert all(isinstance(one, RuntimeError) for one in asked(broken, range(3)))


def test_no_more_waits_than_may_and_who_is_gone_is_not_answered():
    gate, seen = threading.Event(), []

    def work(items):
        gate.wait(10)
        seen.extend(items)
        return list(items)

    async def run():
        batcher = Batcher(work, most_rows=4, queue_rows=3)
        first = asyncio.ensure_future(batcher.ask("first", 1))
        await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(batcher.ask(one, 1)) for one in "abc"]
        await asyncio.sleep(0)
        assert batcher.waiting_rows == 3
        with pytest.raises(FullError):
            await batcher.ask("d", 1)
        waiting[1].cancel()
        gate.set()
        assert await first == "first"
        assert await waiting[0] == "a"
        assert await waiting[2] == "c"
        await batcher.drained()
        batcher.close()

    asyncio.run(run())
    assert seen == ["first", "a", "c"]
