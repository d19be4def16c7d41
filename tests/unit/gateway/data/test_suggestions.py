"""Products that look like a label."""

from services.api_gateway.suggestions import suggest

SHELVES = [("P-1", "Oak shelf 80"), ("P-2", "Oak shelf 120"), ("P-3", "Desk lamp"), ("P-4", None), ("LAMP-9", "Torch")]


async def test_the_most_alike_name_or_key_comes_first() -> None:
    oak, lamp, none = await suggest(["OAK SHELF  80", "lamp 9", "zzzz"], SHELVES, 2)
    assert (oak[0].product_key, oak[0].name, oak[0].score) == ("P-1", "Oak shelf 80", 1.0)
    assert [found.product_key for found in oak] == ["P-1", "P-2"]
    assert lamp[0].product_key == "LAMP-9"
    assert none == []
    assert all(0.5 <= found.score <= 1 for found in (*oak, *lamp))


async def test_nothing_is_suggested_where_there_is_nothing() -> None:
    assert await suggest([], SHELVES, 3) == []
    assert await suggest(["oak"], [], 3) == [[]]
