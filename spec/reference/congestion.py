"""Runs the pseudocode of page 09, read from the page itself, along simulated paths. `traces()` gives the cases of
vectors/congestion.txt; `python3 spec/reference/congestion.py` prints a summary of each."""

import heapq
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "09-congestion.md"


def load():
    """The page's code as a namespace."""
    page = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(code, page)
    return page


class Noise:
    """A generator of numbers that gives the same ones every time."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n


def run(page, acks, cell_us, delay_us, seed=1, limited=lambda at: True, lost=None, jitter_us=0, cross=lambda at: 0):
    """One flow through one queue: a cell leaves it every `cell_us(at)`, and acknowledgements come `delay_us(at)` after
    that. One of `lost` cells, and all that were sent after it, arrive a delay later. `cross` is a standing queue of others."""
    c, noise = page["Congestion"](), Noise(seed)
    now, free_at, arrived = 10_000_000, 0, 0
    in_flight = since = 0
    coming, out = [], []
    while len(out) < acks:
        # All that fits leaves at once, unless the application has little to send.
        room = int(c.window) - in_flight if limited(now) else min(int(c.window) - in_flight, 16)
        for _ in range(max(room, 0)):
            free_at = max(free_at, now + cross(now)) + cell_us(now)
            at = free_at + delay_us(now) + (noise.below(jitter_us) if jitter_us else 0)
            if lost and noise.below(lost) == 0:
                at += delay_us(now)
            arrived = max(arrived, at)
            in_flight, since = in_flight + 1, since + 1
            if since == 16:
                since = 0
                heapq.heappush(coming, (arrived, now))
        now, sent = heapq.heappop(coming)
        is_limited = in_flight + 16 > int(c.window)
        in_flight -= 16
        page["on_ack"](c, now * 1000, (now - sent) * 1000, 16, is_limited)
        interval = page["interval"](c)
        out.append((now, now - sent, int(is_limited), int(c.window), 0 if interval is None else interval // 1000))
    return out


def paced(page, events, cell_us, delay_us, seed=1):
    """One paced sender with enough to send, whose timers are late: `s` a counted cell, `t` a timer, `a` an acknowledgement;
    each with its time and, after it, the end of the rest (0: none) and the window."""
    c, p, noise = page["Congestion"](), page["Pacer"](), Noise(seed)
    now, free_at, in_flight, since, wakes_at = 10_000_000, 0, 0, 0, None
    coming, out = [], []

    def note(what):
        out.append((what, now, 0 if p.rests_until is None else p.rests_until // 1000, int(c.window)))

    while len(out) < events:
        while in_flight < int(c.window) and p.rests_until is None:
            free_at = max(free_at, now) + cell_us
            in_flight, since = in_flight + 1, since + 1
            page["on_counted_cell"](p, now * 1000, page["interval"](c))
            if since == 16:
                since = 0
                heapq.heappush(coming, (free_at + delay_us, now))
            note("s")
        if p.rests_until is None:
            wakes_at = None
        elif wakes_at is None:
            wakes_at = p.rests_until // 1000 + 50 + noise.below(1500)
        if wakes_at is not None and (not coming or wakes_at < coming[0][0]):
            now, wakes_at = wakes_at, None
            page["on_timer"](p, now * 1000)
            note("t")
            continue
        now, sent = heapq.heappop(coming)
        limited = in_flight + 16 > int(c.window)
        in_flight -= 16
        page["on_ack"](c, now * 1000, (now - sent) * 1000, 16, limited)
        page["on_timer"](p, now * 1000)
        note("a")
    return out


def paced_traces():
    page = load()
    yield "long_path", paced(page, 2500, 110, 50_000)
    yield "slow_line", paced(page, 1200, 900, 90_000, seed=2)
    yield "short_path", paced(page, 400, 100, 5_000, seed=3)


def traces():
    page = load()
    fixed = lambda value: lambda at: value
    after = lambda first, then, seconds: lambda at: then if at >= 10_000_000 + seconds * 1_000_000 else first
    yield "start_and_steady", "CONG-2 CONG-3 CONG-5", run(page, 400, fixed(100), fixed(40_000))
    yield "short_path", "CONG-2 CONG-4", run(page, 300, fixed(60), fixed(4_000))
    yield "not_limited", "CONG-6", run(page, 120, fixed(50), fixed(60_000), limited=lambda at: at > 12_000_000)
    yield "losses", "CONG-8", run(page, 400, fixed(120), fixed(50_000), lost=400, jitter_us=900)
    yield "drains", "CONG-7", run(page, 1500, fixed(900), fixed(80_000), cross=after(0, 20_000, 1), jitter_us=50)
    yield "longer_path", "CONG-10", run(page, 700, fixed(200), after(20_000, 120_000, 2))
    yield "narrower_path", "CONG-3 CONG-4", run(page, 500, after(80, 1_600, 0.3), fixed(30_000))


if __name__ == "__main__":
    for name, _, acks in traces():
        windows = [a[3] for a in acks]
        print(f"{name}: {len(acks)} acknowledgements in {(acks[-1][0] - acks[0][0]) / 1e6:.1f} s, window {min(windows)} to {max(windows)}, at the end {windows[-1]}")
