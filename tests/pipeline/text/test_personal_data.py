"""Personal data that is masked, and similar text that is not."""

from __future__ import annotations

from pipeline.text.personal_data import mask_personal_data
from tests.support.texts import story


def test_valid_personal_data_is_masked() -> None:
    text = (
        "Write to jane.doe+x@mail.example.co.uk or +44 20 7946 0958, (555) 123-4567. Card 4111 1111 1111 1111, not "
        "4111 1111 1111 1112. IBAN GB82 WEST 1234 5698 7654 32, not GB82 WEST 1234 5698 7654 33. At 8.8.8.8 and "
        "2606:4700:4700::1111, not 192.168.0.1 or 300.1.1.1. In 1984 and 1,234,567 of 12-34; ISBN 978-3-16-148410-0."
    )
    masked, counts = mask_personal_data(text)
    assert masked == (
        "Write to [email] or [phone], [phone]. Card [card], not "
        "4111 1111 1111 1112. IBAN [iban], not GB82 WEST 1234 5698 7654 33. At [ip] and "
        "[ip], not 192.168.0.1 or 300.1.1.1. In 1984 and 1,234,567 of 12-34; ISBN 978-3-16-148410-0."
    )
    assert counts == {"pii_email": 1, "pii_iban": 1, "pii_card": 1, "pii_ip": 2, "pii_phone": 2}
    assert mask_personal_data(masked)[0] == masked


def test_text_without_personal_data_is_unchanged() -> None:
    text = story(1)
    assert mask_personal_data(text) == (text, dict.fromkeys(mask_personal_data("")[1], 0.0))
