"""What can be told of an operator's SQL statement without a server. Pure.

A statement of a treatment runs inside the transaction that writes the call result, with columns of the record as
psycopg's named placeholders, ``%(column)s``.
"""

import re
from typing import Final

STATEMENTS: Final = ("INSERT", "UPDATE", "DELETE", "MERGE", "SELECT", "WITH", "CALL")
"""What a statement may begin with: nothing that ends the transaction around it or cannot run inside one."""

_TOKEN: Final = re.compile(
    r"""
      (?P<comment> --[^\n]* )
    | (?P<opened> /\* | (?<![A-Za-z0-9_$]) \$ (?:[A-Za-z_][A-Za-z0-9_]*)? \$ )
    | (?P<quoted> (?: \b[eE]' (?: [^'\\] | '' | \\. )* | ' (?: [^'] | '' )* | " (?: [^"] | "" )* ) (?P<closed> ['"] )? )
    | (?P<placeholder> % (?: \( (?P<column>[^()]*) \) s | % )? )
    | [A-Za-z_][A-Za-z0-9_$]*
    | \s+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
"""PostgreSQL manual, "Lexical Structure", as far as it decides where a statement ends."""


def statement_problem(text: str, columns: frozenset[str] | None = None) -> str | None:
    """
    What is wrong with a statement, in words that follow a key path; None when nothing is.

    Args:
        columns: names that placeholders may have; None: any (the list is not known).
    """
    begun = ended = False
    position = 0
    while found := _TOKEN.match(text, position):
        token, position = found[0], found.end()
        if found["opened"]:
            closed_at = _end(text, position, token)
            if closed_at is None:
                return f"has a {token} that is not closed"
            wrong = _inside(text[position:closed_at])
            position = closed_at
        else:
            wrong = _token_problem(found, columns)
        if wrong is not None:
            return wrong
        if token.isspace() or token.startswith(("--", "/*")):
            continue
        if token == ";":
            ended = begun
        elif ended:
            return "must be one statement, found more than one"
        elif not begun and token.upper() not in STATEMENTS:
            return f"must begin with {', '.join(STATEMENTS[:-1])} or {STATEMENTS[-1]}"
        else:
            begun = True
    return None if begun else "must be a statement, and is empty"


def _token_problem(found: re.Match[str], columns: frozenset[str] | None) -> str | None:
    if found["placeholder"]:
        return _placeholder_problem(found[0], found["column"], columns)
    if found["quoted"] and not found["closed"]:
        return "has a quotation mark that is not closed"
    return _inside(found[0]) if found["quoted"] or found["comment"] else None


def _placeholder_problem(token: str, column: str | None, columns: frozenset[str] | None) -> str | None:
    if token == "%%":
        return None
    if column is None:
        return "has a % that is no placeholder; write %% for a percent sign, %(column)s for a column of the record"
    if columns is not None and column not in columns:
        return f'%({column})s: the record has no column "{column}"; it has: {", ".join(sorted(columns))}'
    return None


def _inside(text: str) -> str | None:
    """Placeholders are recognised inside quotation marks and comments too, and fail there."""
    left = text.replace("%%", "")
    if "%(" in left:
        return "has a placeholder inside quotation marks or a comment; write it outside, without quotation marks"
    return "has a % inside quotation marks or a comment; write %% for a percent sign" if "%" in left else None


def _end(text: str, position: int, opening: str) -> int | None:
    """Where a comment or a dollar-quoted text that was opened before ``position`` ends; comments nest."""
    if opening != "/*":
        at = text.find(opening, position)
        return at + len(opening) if at >= 0 else None
    depth = 1
    for found in re.compile(r"/\*|\*/").finditer(text, position):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return None
