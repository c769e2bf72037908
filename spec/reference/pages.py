"""Tables of the pages against what the client has of them: the states of a stream (07), the profiles (15)."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import umbel
from directory import DAY, HOUR, MINUTE, PROFILES, SECOND, Profile
from stream import ALLOWED, END_0

PAGES = Path(__file__).resolve().parent.parent
UNITS = {"ms": 1, "s": SECOND, "min": MINUTE, "h": HOUR, "d": DAY}


def table(page: str, mark: str) -> list[list[str]]:
    """The rows of the table after a mark, the head first."""
    text = (PAGES / page).read_text().partition(f"<!-- {mark} -->")[2].partition("<!-- end -->")[0]
    rows = [[word.strip() for word in line.strip("| ").split("|")] for line in text.strip().splitlines()]
    return rows[:1] + rows[2:]


def streams() -> list[str]:
    """Where `ALLOWED` differs from the table ClientStream."""
    head, *rows = table("07-circuits.md", "table: ClientStream")
    commands = {"END 0": END_0, "END not 0": umbel.END}
    wrong = [] if len(rows) == 8 and ALLOWED.keys() <= set(head) else [f"07: a table of {len(rows)} rows"]
    for name, *words in rows:
        command = commands.get(name) or getattr(umbel, name)
        for state, word in zip(head[1:], words):
            if state in ALLOWED and (word == "ok") != (command in ALLOWED[state]):
                wrong.append(f"07: {name} on a stream that is {state}: the page says {word}")
    return wrong


def value(text: str) -> object:
    """A number of page 15: a time in milliseconds, yes or no, a number, or a name."""
    first, _, unit = text.partition(" ")
    if unit in UNITS:
        return int(first) * UNITS[unit]
    return {"yes": True, "no": False}.get(text, int(text) if text.isdigit() else text)


def profiles() -> list[str]:
    head, *rows = table("15-profiles.md", "profiles")
    numbers = {row[0].strip("`"): dict(zip(head, row)) for row in rows}
    wrong = []
    for profile in PROFILES.values():
        for name in (field.name for field in fields(Profile)):
            said, has = numbers.get(name, {}).get(profile.name, "nothing"), getattr(profile, name)
            if value(said) != has:
                wrong.append(f"15: {name} of {profile.name} is {said}, and the client has {has}")
    return wrong
