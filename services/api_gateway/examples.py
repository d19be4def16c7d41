"""Bodies and answers as the API documents show them."""

from typing import Any

SALE = {
    "sale_id": "T7-2026-001",
    "customer_code": "C-1042",
    "sold_at": "2026-11-20T10:31:00+01:00",
    "channel": "store",
    "currency": "EUR",
    "lines": [
        {
            "product_key": "P-88",
            "label": "Oak shelf 80",
            "quantity": "2",
            "unit_price": "39.90",
            "discount": "5.00",
            "amount": "74.80",
        }
    ],
    "metadata": {"till": "7"},
}
ANONYMOUS_SALE = {
    "sale_id": "T7-2026-002",
    "customer_code": None,
    "sold_at": "2026-11-20T10:35:00+01:00",
    "lines": [{"product_key": "P-88", "quantity": 1, "unit_price": 39.9}],
}
RETURN = {
    "return_id": "R-9",
    "customer_code": "C-1042",
    "returned_at": "2026-11-24T09:00:00+01:00",
    "lines": [{"product_key": "P-88", "quantity": "1", "amount": "37.40"}],
}
CANCELLATION = {"cancelled_at": "2026-11-20T11:00:00+01:00", "reason": "wrong till"}
CUSTOMER = {
    "customer_code": "C-1042",
    "first_name": "Ana",
    "last_name": "Ruiz",
    "email": "ana@example.org",
    "language": "fr",
    "tags": ["club"],
    "attributes": {"store": "Lyon"},
    "consents": {"email": {"status": "opted_in", "at": "2026-01-05T09:00:00+01:00", "source": "import"}, "sms": None},
}
CUSTOMER_FIELDS = {name: value for name, value in CUSTOMER.items() if name != "customer_code"}
CUSTOMER_PATCH = {"email": "ana.ruiz@example.org", "attributes": {"store": None}}
PRODUCT = {
    "product_key": "P-88",
    "name": "Oak shelf 80",
    "family": "Shelves",
    "sub_family": "Wall shelves",
    "price": "39.90",
    "margin": "14.20",
    "stock": "120",
    "active": True,
    "tags": ["oak"],
    "attributes": {"width": "80 cm"},
}
PRODUCT_FIELDS = {name: value for name, value in PRODUCT.items() if name != "product_key"}
ALIAS = {"alias": "T-9", "product_key": "P-88"}
ALIAS_FIELDS = {"product_key": "P-88"}
PRODUCT_PATCH = {"price": "34.90", "stock": "80"}
WHAT_IF = {
    "method": "fixed",
    "bounds": {
        "recency_days": [7, 30, 90, 180],
        "frequency": [1, 3, 6, 12],
        "monetary": ["50.00", "150.00", "400.00", "1000.00"],
    },
}
IMPORT_ID = "6f1c3a90-0d4f-4c1e-8a6b-4c0f9d2a7b5e"
IMPORT_FILE = """\
Ticket;Customer;Date;Article;Qty;Price
T7-2026-001;C-1042;20/11/2026 10:31;P-88;2;39,90
T7-2026-001;C-1042;20/11/2026 10:31;P-12;1;9,90
"""
SALES_FIGURES = {"orders": 7, "units": "9", "revenue": "341.10", "customers": 6}
POPULARITY: dict[str, Any] = {
    "product_key": "P-88",
    "popularity": 0.412345,
    "reference_date": "2026-11-23",
    "all_time": {"orders": 212, "units": "260", "revenue": "9874.00", "customers": 143},
    "last_30_days": SALES_FIGURES,
}
FIGURES: dict[str, Any] = {
    "period": {"from": "2026-10-02", "to": "2026-10-31"},
    "customers": {"total": 2401, "active": 1190, "new": 58},
    "orders": 1180,
    "revenue": "48213.90",
    "average_basket": "40.8592",
    "repeat_rate": 0.3127,
}
OVERVIEW: dict[str, Any] = {
    **FIGURES,
    "period": {"from": "2026-11-01", "to": "2026-11-30"},
    "customers": {"total": 2469, "active": 1204, "new": 68},
    "currency": "EUR",
    "previous": FIGURES,
}
POINT = {
    "period": "2026-W47",
    "from": "2026-11-16",
    "to": "2026-11-22",
    "orders": 271,
    "units": "1190",
    "revenue": "11801.55",
    "customers": 253,
}
SALES_TREND: dict[str, Any] = {
    "period": {"from": "2026-11-16", "to": "2026-11-22"},
    "granularity": "week",
    "currency": "EUR",
    "points": [POINT],
    "previous": [{**POINT, "period": "2026-W46", "from": "2026-11-09", "to": "2026-11-15"}],
}
STANDING = {"segment": "champions", "name": "Champions", "customers": 213, "share": 0.0863}
SEGMENT_MOVES: dict[str, Any] = {
    "period": {"from": "2026-10-31", "to": "2026-11-30"},
    "before": [{**STANDING, "customers": 198, "share": 0.0825}],
    "after": [STANDING],
    "flows": [
        {"from": "champions", "to": "champions", "customers": 183},
        {"from": "loyal", "to": "champions", "customers": 30},
        {"from": None, "to": "new", "customers": 68},
    ],
    "moved": 98,
}
TOP_PRODUCTS: dict[str, Any] = {
    "period": {"from": "2026-11-01", "to": "2026-11-30"},
    "by": "revenue",
    "currency": "EUR",
    "units": "5120",
    "revenue": "51377.25",
    "product_count": 1834,
    "products": [
        {
            "product_key": "P-88",
            "name": "Oak shelf 80",
            "family": "Shelves",
            "orders": 31,
            "units": "40",
            "revenue": "1496.00",
            "share": 0.0291,
        }
    ],
    "families": [
        {
            "family": "Shelves",
            "products": 57,
            "product_orders": 402,
            "units": "611",
            "revenue": "18230.40",
            "share": 0.3548,
        }
    ],
}
