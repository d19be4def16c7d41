"""Field types that several payloads share, with their limits: what a code, an amount or a moment may be."""

import hashlib
import re
import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

LONGEST_CODE = 64
MOST_LINES = 500
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Fixed, not relative to now, so that a replay years later decides as the first time."""
LARGEST_QUANTITY = Decimal(10**9)
LARGEST_MONEY = Decimal(10**9)

# Python, PostgreSQL and Polars must agree on every local date. PostgreSQL reads four of these as abbreviations without
# summer time and does not know what a machine calls "localtime"; Polars does not know "Factory", which is no place.
_AMBIGUOUS_ZONES = frozenset({"CET", "EET", "MET", "WET", "Factory", "localtime"})
_EMAIL = re.compile(r"[^\s@]@[^\s@]+\.[^\s@]")
_PRINTABLE = r"^[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]*[^\p{C}\p{Z}])?$"
_PRINTABLE_OR_EMPTY = r"^[^\p{C}\p{Zl}\p{Zp}]*$"

# ISO 4217 codes in circulation; currencies without a minor unit are decimal all the same.
CURRENCIES = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
    GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT
    LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR
    NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP
    STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD
    XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905 - a list of 150 quoted codes reads worse
)


def _no_email(value: str) -> str:
    if "@" in value and _EMAIL.search(value):
        raise PydanticCustomError(
            "email_like", "must not look like an e-mail address: personal data stays out of codes and labels"
        )
    return value


def _currency(value: str) -> str:
    if value not in CURRENCIES:
        raise PydanticCustomError("currency", "must be an ISO 4217 currency code")
    return value


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _AMBIGUOUS_ZONES


def _timezone(value: str) -> str:
    if value not in _zones():
        raise PydanticCustomError("timezone", "must be an IANA time zone such as Europe/Paris")
    ZoneInfo(value)
    return value


def _only_text(value: Any) -> Any:
    """Numbers would be taken for seconds since 1970, and so would their digits as text."""
    if isinstance(value, datetime) or (isinstance(value, str) and value[4:5] == "-"):
        return value
    raise PydanticCustomError("datetime_type", "must be an RFC 3339 time, such as 2026-11-20T10:31:00+01:00")


def _only_day(value: Any) -> Any:
    """As `_only_text`, for a date without a time of day."""
    if isinstance(value, date) or (isinstance(value, str) and value[4:5] == "-"):
        return value
    raise PydanticCustomError("date_type", "must be a date, such as 2026-11-20")


def _no_truth_as_count(value: Any) -> Any:
    """Pydantic takes true for 1 in whole numbers and floats; decimals refuse it by themselves."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a whole number")
    return value


def _no_truth_as_share(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "must be a number")
    return value


def _moment(value: datetime) -> datetime:
    if not EARLIEST <= value < LATEST:
        raise PydanticCustomError("moment_range", "must lie between 1900-01-01 and 2099-12-31")
    return value.astimezone(UTC)


Code = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_CODE, pattern=_PRINTABLE),
    AfterValidator(_no_email),
    Field(description="1 to 64 printable characters, not an e-mail address"),
]
"""sale_id, customer_code, product_key, return_id: opaque, compared byte by byte."""

LABEL_PREFIX = "label:"
_DIGEST = 8


def label_key(label: str) -> str:
    """The product key of goods that a till knows by a label alone: equal for labels that people take for the same.

    Upper and lower case, width and white space do not count. One that would be longer than a code ends in a hash.
    Empty for a label of white space.
    """
    same = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
    if not same:
        return ""
    key = LABEL_PREFIX + same
    if len(key) <= LONGEST_CODE:
        return key
    digest = hashlib.sha256(same.encode()).hexdigest()[:_DIGEST]
    return f"{key[: LONGEST_CODE - _DIGEST - 1].rstrip()}~{digest}"


Text = Annotated[str, StringConstraints(max_length=200, pattern=_PRINTABLE_OR_EMPTY), AfterValidator(_no_email)]
"""Short free text of facts; it travels in topics without personal data, so addresses are refused."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_PRINTABLE)]
"""A short label of master data of a person, such as a tag."""

Label = Annotated[Word, AfterValidator(_no_email), Field(description="not an e-mail address")]
"""A short label such as a channel or a family; it travels in topics without personal data."""

Note = Annotated[str, StringConstraints(max_length=500, pattern=_PRINTABLE_OR_EMPTY)]
"""Free text of master data, which may be personal."""

PlainNote = Annotated[Note, AfterValidator(_no_email)]
"""Free text of master data that is about things, not about people."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PRINTABLE)]
"""A name for people: of a person, a product, a tenant."""

Quantity = Annotated[Decimal, Field(gt=0, le=LARGEST_QUANTITY, max_digits=13, decimal_places=3, allow_inf_nan=False)]
Money = Annotated[Decimal, Field(ge=0, le=LARGEST_MONEY, max_digits=14, decimal_places=4, allow_inf_nan=False)]
NO_TRUTH = BeforeValidator(_no_truth_as_count)
"""Stands last where a whole number has bounds of its own."""
Whole = Annotated[int, NO_TRUTH]
"""A whole number, also one written as text, and never true or false."""
Share = Annotated[float, BeforeValidator(_no_truth_as_share)]
"""A number that is no amount of anything, and never true or false."""
Day = Annotated[date, BeforeValidator(_only_day)]
"""A date, and never a number of seconds since 1970."""
Moment = Annotated[AwareDatetime, AfterValidator(_moment), BeforeValidator(_only_text)]
"""A time with an offset, kept in UTC."""
Currency = Annotated[str, StringConstraints(min_length=3, max_length=3), AfterValidator(_currency)]
TimeZone = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_timezone)]
