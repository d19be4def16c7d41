"""Lanes apply in turn, first come first served, and none waits for longer than its patience."""

import asyncio
import random

from shared.messaging.turns import Turns


async def test_one_lane_alone_never_waits():
    turns, lane = Turns(), object()
    for _ in range(3):
        assert turns.take(lane)
        assert turns.wait_of(lane) is None
        turns.release(lane)


async def test_who_came_first_is_called_first_and_nobody_passes_him():
    turns, one, two, three = Turns(patience_s=60), object(), object(), object()
    assert turns.take(one)
    assert not turns.take(two)
    assert not turns.take(three)
    turns.release(one)
    assert turns.wait_of(two).turn.done()
    assert not turns.wait_of(three).turn.done()
    assert not turns.take(one), "two is called already"
    assert not turns.take(three)
    assert turns.take(two)
    turns.release(two)
    assert turns.wait_of(three).turn.done()


async def test_who_was_called_and_leaves_lets_the_next_one_go():
    turns, one, two, three = Turns(patience_s=60), object(), object(), object()
    assert turns.take(one)
    assert not turns.take(two)
    assert not turns.take(three)
    turns.release(one)
    turns.leave(two)
    assert turns.wait_of(three).turn.done()
    assert turns.take(three)


async def test_who_waited_long_enough_goes_beside_the_other_and_takes_no_turn_from_him():
    turns, one, two = Turns(patience_s=0.01), object(), object()
    assert turns.take(one)
    assert not turns.take(two)
    await asyncio.sleep(0.02)
    assert turns.take(two)
    turns.release(two)
    assert not turns.take(two), "one is still at it"
    turns.release(one)
    assert turns.take(two)


async def test_many_lanes_are_never_at_it_together_and_none_starves():
    turns, chance, done, at_it = Turns(patience_s=60), random.Random(1), dict.fromkeys(range(4), 0), []

    async def lane(number: int) -> None:
        for _ in range(50):
            while not turns.take(number):
                await asyncio.wait([turns.wait_of(number).turn])
            at_it.append(number)
            assert at_it == [number]
            await asyncio.sleep(0 if chance.random() < 0.5 else 0.001)
            at_it.remove(number)
            done[number] += 1
            turns.release(number)
            assert max(done.values()) - min(done.values()) <= 2

    async with asyncio.timeout(20):
        await asyncio.gather(*(lane(number) for number in done))
