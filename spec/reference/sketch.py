"""Page 10, *Comparing*: the sums of a sketch, and the difference of two sets read from them."""

import math

MASK = 2**64 - 1


def mix(word):
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)


def check_of(tag, salt):
    return mix((mix(tag ^ salt) + salt) & MASK) >> 32


def places(tag, salt, sums):
    """The sums of which an item is a member."""
    state, place = mix(tag ^ salt), 0
    while place < sums:
        yield place
        state = (state + 0x9E3779B97F4A7C15) & MASK
        r = float((mix(state) >> 32) + 1)
        place += max(1, math.ceil((place + 1.5) * (65536.0 / math.sqrt(r) - 1.0)))


def sketch(tags, salt, sums):
    """Each sum as (tags, checks, count)."""
    row = [(0, 0, 0)] * sums
    for tag in tags:
        for at in places(tag, salt, sums):
            t, c, n = row[at]
            row[at] = (t ^ tag, c ^ check_of(tag, salt), (n + 1) % 2**16)
    return row


def difference(theirs, salt, ours):
    """What is theirs alone and ours alone; None where the sums are too few."""
    left = [(a[0] ^ b[0], a[1] ^ b[1], (a[2] - b[2]) % 2**16) for a, b in zip(theirs, sketch(ours, salt, len(theirs)))]
    alone = {1: set(), 2**16 - 1: set()}
    to_look = list(range(len(left)))
    while to_look:
        tag, check, count = left[to_look.pop()]
        if count not in alone or check != check_of(tag, salt):
            continue
        if tag in alone[count]:
            return None
        alone[count].add(tag)
        for at in places(tag, salt, len(left)):
            t, c, n = left[at]
            left[at] = (t ^ tag, c ^ check, (n - count) % 2**16)
            to_look.append(at)
    return (alone[1], alone[2**16 - 1]) if all(s == (0, 0, 0) for s in left) else None
