"""What all tables of the schema share: where they are noted, and the types of their columns.

Text keys collate "C": one byte order for the database and Python, so that both sort locks alike.
"""

from sqlalchemy import DateTime, MetaData, Numeric, Text

SCHEMA = "rfm"
metadata = MetaData(schema=SCHEMA)

MONEY = Numeric(18, 4)
QUANTITY = Numeric(18, 3)
SUM = Numeric(24, 4)
"""Sums of many amounts: wider than one amount, so that no tenant's total can overflow and stop a batch."""
UNITS = Numeric(24, 3)
WEIGHT = Numeric()
"""Decayed sums are exact decimals of any length: adding and taking away leave no rounding dust."""
KEY = Text(collation="C")
TIME = DateTime(timezone=True)
