"""Products whose name or key looks like a label: compared in a thread, as it is many comparisons.

The libraries are imported on first use; most processes never need them.
"""

import asyncio
import heapq
from collections.abc import Sequence
from typing import NamedTuple

LEAST_SCORE = 50
"""Of 100; what is less alike is no help to anybody."""
Product = tuple[str, str | None]


class Suggestion(NamedTuple):
    """A product and how alike it is, 0 to 1."""

    product_key: str
    name: str | None
    score: float


async def suggest(texts: Sequence[str], products: Sequence[Product], count: int) -> list[list[Suggestion]]:
    """Per text at most `count` products, best first, ties by key."""
    if not texts or not products:
        return [[] for _ in texts]
    return await asyncio.to_thread(_suggest, texts, products, count)


def _suggest(texts: Sequence[str], products: Sequence[Product], count: int) -> list[list[Suggestion]]:
    import numpy as np
    from rapidfuzz import fuzz, process, utils

    def plain(text: str) -> str:
        return " ".join(utils.default_process(text).split())

    queries = [plain(text) for text in texts]
    names = [plain(name or key) for key, name in products]
    keys = [plain(key) for key, _ in products]
    # One row of the table per text; it lets other threads run meanwhile.
    tables = [
        process.cdist(queries, choices, scorer=fuzz.WRatio, score_cutoff=LEAST_SCORE, dtype=np.float32)
        for choices in (names, keys)
    ]
    return [_best(row, products, count) for row in np.maximum(*tables).tolist()]


def _best(scores: Sequence[float], products: Sequence[Product], count: int) -> list[Suggestion]:
    alike = ((-score, key, name) for score, (key, name) in zip(scores, products, strict=True) if score > 0)
    ranked = heapq.nsmallest(count, alike, key=lambda found: found[:2])
    return [Suggestion(key, name, round(-score / 100, 4)) for score, key, name in ranked]
