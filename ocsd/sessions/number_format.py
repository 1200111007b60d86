"""How a number is written for a trunk: carriers differ in what they take. Pure."""

from functools import lru_cache

import phonenumbers

from ocsd.config.objects import NumberFormat


@lru_cache(maxsize=4096)
def written(number: str, form: NumberFormat, country: str) -> str:
    """
    ``number`` as a trunk wants it.

    Args:
        number: E.164 with or without ``+``, or as it is dialed within ``country``.
        form: as_is; e164: ``+`` and all digits; national: as it is dialed within ``country`` (numbers of other
            countries with the international prefix); international_prefix: always with that (011 in the US, 00 in most
            countries).
        country: of the trunk, ISO 3166.

    A number that is none of any country (a short code, an extension) stays as it is.
    """
    if form == "as_is" or (parsed := _parsed(number, country)) is None:
        return number
    digits = f"{parsed.country_code}{phonenumbers.national_significant_number(parsed)}"
    if form == "e164":
        return f"+{digits}"
    if form == "national" and phonenumbers.country_code_for_region(country) == parsed.country_code:
        return _digits(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))
    return f"{_international_prefix(country)}{digits}"


def _parsed(number: str, country: str) -> phonenumbers.PhoneNumber | None:
    # Lists hold E.164 without its plus sign; but a national number must not be read as one of another country.
    for text, region in ((number, country), (f"+{number}", None)):
        try:
            parsed = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_possible_number(parsed) and (text.startswith("+") or phonenumbers.is_valid_number(parsed)):
            return parsed
    return None


def _international_prefix(country: str) -> str:
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(country, None)
    found = (metadata.preferred_international_prefix or metadata.international_prefix) if metadata is not None else None
    # Where there are several, the metadata holds a pattern; 00 is what ITU-T E.164 recommends.
    return found if found is not None and found.isdigit() else "00"


def _digits(text: str) -> str:
    return "".join(each for each in text if each.isdigit())
