"""Scores and segments of one customer, counted against the tenant's cut-offs."""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from services.rfm_worker.domain.cutoffs import Cutoffs

PROSPECT = "prospect"

_CODES = {
    "champions": "555 554 544 545 454 455 445",
    "loyal": "543 444 435 355 354 345 344 335",
    "potential_loyalist": "553 551 552 541 542 533 532 531 452 451 442 441 "
    "431 453 433 432 423 353 352 351 342 341 333 323",
    "new": "512 511 422 421 412 411 311",
    "promising": "525 524 523 522 521 515 514 513 425 424 413 414 415 315 314 313",
    "need_attention": "535 534 443 434 343 334 325 324",
    "about_to_sleep": "331 321 312 221 213 231 241 251",
    "at_risk": "255 254 245 244 253 252 243 242 235 234 225 224 153 152 145 143 142 135 134 133 125 124",
    "cannot_lose": "155 154 144 214 215 115 114 113",
    "hibernating": "332 322 233 232 223 222 132 123 122 212 211",
    "lost": "111 112 121 131 141 151",
}
SEGMENT_OF_CODE = {code: segment for segment, codes in _CODES.items() for code in codes.split()}
"""Each of the 125 codes has exactly one segment."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a customer stands; the scores are None, all three, for a prospect."""

    r: int | None
    f: int | None
    m: int | None
    segment: str

    @property
    def code(self) -> str | None:
        """The scores as three digits; None for a prospect."""
        return None if self.r is None else f"{self.r}{self.f}{self.m}"


NO_ORDERS = Standing(None, None, None, PROSPECT)


def standing(
    frequency: int, monetary: Decimal, last_order_day: date | None, cutoffs: Cutoffs | None
) -> Standing | None:
    """Scores and segment of a customer; None while there are no cut-offs to score a customer with orders against.

    Args:
        frequency: counting orders.
        monetary: sum of their net amounts.
        last_order_day: local date of the last one; None without one.
        cutoffs: the tenant's; None or empty until the first were found.
    """
    if frequency == 0 or last_order_day is None:
        return NO_ORDERS
    if cutoffs is None or not cutoffs.known:
        return None
    recency = max(0, (cutoffs.reference_date - last_order_day).days)
    r = 5 - bisect_left(cutoffs.recency_days, recency)
    f = 1 + bisect_left(cutoffs.frequency, frequency)
    m = 1 + bisect_left(cutoffs.monetary, monetary)
    return Standing(r, f, m, SEGMENT_OF_CODE[f"{r}{f}{m}"])
