import pytest

from shop.products.money import DECIMALS, format_price


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (129900, "EUR", "€1,299.00"),
        (5, "EUR", "€0.05"),
        (0, "USD", "$0.00"),
        (1980, "JPY", "¥1,980"),
        (1500, "KWD", "KWD\u00a01.500"),
        (1234567, "CHF", "CHF\u00a012,345.67"),
        (-250, "GBP", "-£2.50"),
    ],
)
def test_a_price_has_the_decimals_of_its_currency(amount: int, currency: str, text: str) -> None:
    assert format_price(amount, currency) == text


def test_every_currency_is_a_unique_code_of_three_letters() -> None:
    assert all(len(code) == 3 and code.isupper() for code in DECIMALS)
    assert len(DECIMALS) == 155
