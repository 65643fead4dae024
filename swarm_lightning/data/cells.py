"""Single values of a record as the text that a model should read, or reply."""

import datetime
import math
from decimal import Decimal


def text_of(value: object) -> str:
    """Write a single value as text.

    Whole floats lose their ".0": numbers become floats on the way when others in their column are missing.

    >>> text_of(3.0), text_of(2.5), text_of(True), text_of(datetime.datetime(2024, 5, 1))
    ('3', '2.5', 'True', '2024-05-01')
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    # Readers make timestamps out of texts that look like dates.
    if isinstance(value, datetime.datetime) and value.time() == datetime.time(0) and value.tzinfo is None:
        return value.date().isoformat()
    if isinstance(value, int):
        return str(value) if abs(value) < 2**1024 else str(Decimal(value))  # Python limits the digits of whole numbers
    return str(value)


def is_missing(value: object) -> bool:
    """Tell whether a value stands for none: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))
