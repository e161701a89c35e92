"""Masks personal data in text: e-mail addresses, telephone and card numbers, bank accounts and IP addresses.

Matches of the patterns are verified where possible: cards with the Luhn checksum, IBANs modulo 97 (ISO 13616), IP
addresses by whether they are public. Each match is replaced by a placeholder in brackets and counted. Names and postal
addresses are not detected.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from pipeline.text.line_chunks import line_chunks

_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_IP4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)")
_IP6 = re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){3,7}(?![\w:])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(0\))?(?:\(?\d{1,4}\)?[ .-]?){2,5}\d{2,4}"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?![\w-])"
)


def mask_personal_data(text: str) -> tuple[str, dict[str, float]]:
    """Return the masked text and the counts `pii_email`, `pii_iban`, `pii_card`, `pii_ip`, `pii_phone`."""
    counts = dict.fromkeys((f"pii_{name}" for name, *_ in _TYPES), 0.0)
    masked = [_mask_lines(lines, counts) for lines in line_chunks(text)]  # no pattern contains a line end
    return "".join(masked), counts


def _mask_lines(text: str, counts: dict[str, float]) -> str:
    for name, pattern, is_valid in _TYPES:
        count = 0

        def mask(match: re.Match[str], name: str = name, is_valid: Callable[[str], bool] = is_valid) -> str:
            nonlocal count
            if not is_valid(match[0]):
                return match[0]
            count += 1
            return f"[{name}]"

        text = pattern.sub(mask, text)
        counts[f"pii_{name}"] += count
    return text


def _is_card(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    odd, even = digits[-1::-2], digits[-2::-2]
    total = sum(odd) + sum(sum(divmod(2 * d, 10)) for d in even)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and total % 10 == 0


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_public_ip(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _is_phone(text: str) -> bool:
    return 8 <= sum(c.isdigit() for c in text) <= 15


_TYPES: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", _EMAIL, lambda text: ".." not in text),
    ("iban", _IBAN, _is_iban),
    ("card", _CARD, _is_card),
    ("ip", _IP4, _is_public_ip),
    ("ip", _IP6, _is_public_ip),
    ("phone", _PHONE, _is_phone),
)
