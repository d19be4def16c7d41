"""Bodies as the API documents show them."""

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
