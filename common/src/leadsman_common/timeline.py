"""An alert's evidence drawn as a timeline: who did what to what, in order, across cloud and cluster. Pure.

One row an event, time going down; a lane for each actor on each side (cloud, cluster, sensors), so that a story reads
as a graph of commits does. The drawing is an SVG that stands by itself: no script, no font, no address, one style that
follows the reader's light or dark. Every string in it may be an attacker's: it is made visible, clipped and escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import TypeAlias

from leadsman_common.alerts import Alert, Evidence, iso_time
from leadsman_common.chain import (
    OTHERS,
    Lane,
    Row,
    actor_text,
    decisive,
    facts_text,
    in_order,
    lanes_of,
    rows_of,
    what_text,
)
from leadsman_common.visible import cells, clean, clipped

WIDTH = 960
_SHORT = 12  # up to so many events, each says what decided
_LEFT, _LANE, _SIDE, _TOP = 190, 30, 48, 12
_GAP_US = 60_000_000
_SMALL, _TEXT, _TITLE = 6.7, 7.3, 9.2  # what a character takes at 11, 12 and 15 px, and a little more
_ALL = 1000

Piece: TypeAlias = tuple[str, str, float, int]  # class, text, width of a character, columns at most

STYLE = """
.lm-t{--bg:#fff;--ink:#1c2128;--dim:#5d6673;--rule:#d8dde3;--band:#f5f7f9;--row:#fff3f2;--mark:#c62828;--on:#fff;
--c0:#1f5fbf;--c1:#a1440b;--c2:#1d7a46;--c3:#7b3fb5;--c4:#946800;--c5:#0b7a80;--c6:#b0307a;--c7:#5d6673;
background:var(--bg);max-width:100%;height:auto;font-family:ui-sans-serif,system-ui,"Segoe UI","DejaVu Sans",sans-serif}
@media(prefers-color-scheme:dark){.lm-t{--bg:#15191f;--ink:#e4e8ee;--dim:#9aa4b2;--rule:#333b46;--band:#1c222a;
--row:#33201f;--mark:#ff7b72;--on:#15191f;--c0:#79b0ff;--c1:#f0a06a;--c2:#6fd195;--c3:#c9a0f5;--c4:#e2c25a;--c5:#5fd0d6;
--c6:#f093c4;--c7:#9aa4b2}}
.lm-t text{font-size:12px;fill:var(--ink);unicode-bidi:isolate;white-space:pre}
.lm-t .m{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.lm-t .s{font-size:11px;fill:var(--dim)}.lm-t .h{font-size:15px;font-weight:600}.lm-t .b{font-weight:600}
.lm-t .x{font-size:10px;font-weight:700;fill:var(--on);letter-spacing:.04em}.lm-t .e{text-anchor:end}
.lm-t .c{text-anchor:middle}.lm-t .v{fill:var(--mark)}
.lm-t .g{stroke:var(--rule);fill:none}.lm-t .w{stroke:var(--dim);fill:none;stroke-width:1.5}
.lm-t .k{fill:var(--mark)}.lm-t .r{stroke:var(--mark);fill:none;stroke-width:2}.lm-t .z{fill:var(--row)}
.lm-t .n{fill:var(--band)}
.lm-t .o{fill:var(--bg);stroke-width:2.5}.lm-t .d{stroke:var(--bg);stroke-width:1.5}
""" + "".join(f".lm-t .c{n}{{fill:var(--c{n})}}.lm-t .s{n}{{stroke:var(--c{n})}}" for n in range(8))


def draw(alert: Alert, *, style: bool = True) -> str:
    """The SVG of an alert's evidence; empty where it has none. `style`: whether it brings its own (a page has one)."""
    chain = in_order(alert)
    if not chain:
        return ""
    drawing = _Drawing(alert, chain)
    drawing.head()
    drawing.legend()
    drawing.rows()
    height = drawing.y + 10
    summary = f"{len(chain)} events, {_stamp(chain[0]['time'])} to {_stamp(chain[-1]['time'])}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lm-t" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img"><title>{_say(alert["title"], 300)}</title><desc>{_say(summary, 200)}</desc>'
        + (f"<style>{STYLE}</style>" if style else "")
        + f'<rect width="{WIDTH}" height="{height}" style="fill:var(--bg)"/>'
        + "".join(drawing.under + drawing.over)
        + "</svg>"
    )


class _Drawing:
    """A drawing as it grows downwards; `under` lies below `over`."""

    def __init__(self, alert: Alert, chain: Sequence[Evidence]) -> None:
        self.alert, self.chain = alert, chain
        lanes = lanes_of(chain)
        self.lanes = list(lanes.values())
        self.steps = rows_of(chain, lanes, decisive(alert, chain))
        self.y = _TOP
        self.under: list[str] = []
        self.over: list[str] = []
        self.x: dict[Lane, int] = {}
        self.sides: list[tuple[str, int, int]] = []  # name, x, width
        at = _LEFT
        for side, found in groupby(self.lanes, lambda lane: lane.side):
            own = list(found)
            wide = max(_LANE * len(own), _SIDE)
            self.x |= {lane: at + (2 * n + 1) * wide // (2 * len(own)) for n, lane in enumerate(own)}
            self.sides.append((side, at, wide))
            at += wide + 2
        self.text_x = at + 14
        self.text_wide = WIDTH - self.text_x - 16

    def head(self) -> None:
        """The level, the title, where and when."""
        alert, chain = self.alert, self.chain
        level = alert["level"].upper()
        wide = 16 + 7 * len(level)
        self.over.append(f'<rect class="k" x="16" y="{_TOP + 2}" width="{wide}" height="18" rx="4"/>')
        self.over.append(f'<text class="x c" x="{16 + wide // 2}" y="{_TOP + 15}">{_say(level, 20)}</text>')
        title = alert["title"] or alert["rule"]["title"] or alert["rule"]["name"]
        self.over.append(_cell(28 + wide, _TOP, WIDTH - 44 - wide, [("h", title, _TITLE, _ALL)]))
        first, last = chain[0]["time"], chain[-1]["time"]
        span = f"  ·  {_stamp(first)} to {_clock(last, first)} UTC, {_duration(last - first)}" if last > first else ""
        number = f"  ·  {len(chain)} events" if len(chain) > 1 else ""
        cluster = alert["cluster"]["id"] or alert["cluster"]["name"] or "unknown"
        pieces = [("s", "cluster ", _SMALL, _ALL), ("m s", cluster, _SMALL, 64), ("s", number + span, _SMALL, _ALL)]
        self.over.append(_cell(16, _TOP + 26, WIDTH - 32, pieces))
        self.y += 52

    def legend(self) -> None:
        """A line for each lane."""
        before = ""
        for lane in self.lanes:
            if lane.side != before:
                self.over.append(f'<text class="s e" x="{_LEFT - 26}" y="{self.y + 12}">{lane.side}</text>')
            before = lane.side
            self.over.append(f'<circle class="c{lane.colour}" cx="{_LEFT - 8}" cy="{self.y + 8}" r="5"/>')
            count = f"   {lane.events} event{'s' * (lane.events > 1)}"
            pieces = [(f"m b c{lane.colour}", _name(lane), _TEXT, 86), ("s", count, _SMALL, _ALL)]
            self.over.append(_cell(_LEFT + 6, self.y - 4, WIDTH - _LEFT - 22, pieces))
            self.y += 19
        self.y += 8

    def rows(self) -> None:
        """The events, the lanes behind them, and the line that leads from one to the next."""
        top, self.y = self.y, self.y + 18
        span = max(1, self.chain[-1]["time"] - self.chain[0]["time"])
        dots: list[tuple[int, int]] = []
        shades: list[str] = []
        before: Evidence | None = None
        for row in self.steps:
            since = row.first["time"] - before["time"] if before else 0
            if since >= _GAP_US and since * 6 >= span:
                self._gap(since)
                since = 0
            if row.decisive:
                high = self._height(row) - 1
                shades.append(f'<rect class="z" x="8" y="{self.y - 3}" width="{WIDTH - 16}" height="{high}" rx="6"/>')
            dots.append((self.x[row.lane], self.y + 12))
            self._row(row, before, since)
            before = row.items[-1]
        high = self.y - top
        for side, x, wide in self.sides:
            self.under.append(f'<rect class="n" x="{x}" y="{top}" width="{wide}" height="{high}" rx="4"/>')
            self.under.append(f'<text class="s c" x="{x + wide // 2}" y="{top + 12}">{side}</text>')
        self.under += shades
        self.under += [f'<path class="g" d="M{x} {top + 18}V{self.y - 4}"/>' for x in self.x.values()]
        for (x1, y1), (x2, y2) in pairwise(dots):
            bend = min(24, (y2 - y1) // 2)
            self.under.append(f'<path class="w" d="M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}"/>')

    def _gap(self, since: int) -> None:
        self.over.append(f'<text class="s e" x="{_LEFT - 10}" y="{self.y + 13}">{_duration(since)} later</text>')
        self.over.append(f'<path class="g" stroke-dasharray="2 4" d="M{self.text_x} {self.y + 9}H{WIDTH - 16}"/>')
        self.y += 20

    def _facts(self, row: Row) -> str:
        detailed = len(row.items) == 1 and (row.decisive or len(self.chain) <= _SHORT)
        return facts_text(row.first) if detailed else ""

    def _height(self, row: Row) -> int:
        return 8 + 17 * (1 + bool(self._facts(row)) + (len(row.items) > 1))

    def _row(self, row: Row, before: Evidence | None, since: int) -> None:
        item, y, x, wide = row.first, self.y, self.text_x, self.text_wide
        clock = _clock(item["time"], before["time"] if before else 0)
        self.over.append(f'<text class="m s" x="16" y="{y + 16}">{clock}</text>')
        if since >= 1_000_000:
            self.over.append(f'<text class="s e" x="{_LEFT - 10}" y="{y + 16}">+{_duration(since)}</text>')
        self.over.append(_dot(row, self.x[row.lane], y + 12))
        self.over.append(_line(row, x, y, wide - 68 if row.decisive else wide))
        if row.decisive:
            self.over.append(f'<rect class="k" x="{WIDTH - 80}" y="{y + 3}" width="64" height="16" rx="4"/>')
            self.over.append(f'<text class="x c" x="{WIDTH - 48}" y="{y + 15}">DECISIVE</text>')
        if facts := self._facts(row):
            said = "changed  " if any(m.get("changed") for m in item["matched"]) else "with  "
            pieces = [("s b", said, _TEXT, _ALL), ("m s", facts, _SMALL, _ALL)]
            self.over.append(_cell(x, y + 17, wide, pieces, full=_say(facts_text(item, 40), 2000)))
        if len(row.items) > 1:
            _strip(self.over, row, x, y + 26, wide)
        self.y += self._height(row)


def _line(row: Row, x: int, y: int, wide: int) -> str:
    """Who, what and to what; the name leaves room for the rest."""
    item, count = row.first, len(row.items)
    done, thing = what_text(item)
    refused = f"  refused ({item['http']})" if item["http"] >= 400 else ""
    pieces = [
        (
            f"m b c{row.lane.colour}",
            actor_text(item["actor"]) if row.lane.actor == OTHERS else _name(row.lane),
            _TEXT,
            36,
        ),
        ("m", f"  {f'{count}x ' if count > 1 else ''}{done}  ", _TEXT, 48),
        ("m b", _things(row.items) if count > 1 else thing, _TEXT, _ALL),
        ("m v", refused, _TEXT, _ALL),
    ]
    return _cell(x, y, wide, pieces, full=_title(item) if count == 1 else "", reserve=int(_TEXT * len(refused)))


def _dot(row: Row, x: int, y: int) -> str:
    colour = row.lane.colour
    drawn = f"s{colour} o" if row.first["http"] >= 400 else f"c{colour} d"
    title = "" if len(row.items) > 1 else f"<title>{_title(row.first)}</title>"
    ring = f'<circle class="r" cx="{x}" cy="{y}" r="10"/>' if row.decisive else ""
    return f'<circle class="{drawn}" cx="{x}" cy="{y}" r="6">{title}</circle>{ring}'


def _strip(out: list[str], row: Row, x: int, y: int, wide: int) -> None:
    """The events of a run, each a dot on a little axis of the run's own time."""
    first, last = row.items[0]["time"], row.items[-1]["time"]
    until = f"until {_clock(last, first)}, over {_duration(last - first)}"
    room = wide - int(_SMALL * len(until)) - 16
    out.append(f'<path class="g" d="M{x} {y}H{x + room}"/>')
    for item in row.items:
        at = x + 4 + (room - 8) * (item["time"] - first) // max(1, last - first)
        out.append(
            f'<circle class="c{row.lane.colour}" cx="{at}" cy="{y}" r="3"><title>{_title(item)}</title></circle>'
        )
    out.append(f'<text class="s" x="{x + room + 10}" y="{y + 4}">{until}</text>')


def _cell(x: int, y: int, wide: int, pieces: Sequence[Piece], *, full: str = "", reserve: int = 0) -> str:
    """Pieces of text on one line that ends within `wide`; `full` is told on top of it, `reserve` kept for the last.

    What does not fit is cut, and the inner svg clips what some font draws wider.
    """
    left, spans = wide - reserve, ""
    for n, (style, text, size, most) in enumerate(pieces):
        left += reserve if n == len(pieces) - 1 else 0
        shown = clipped(text, min(most, max(0, int(left / size)))) if text else ""
        left -= int(size * cells(shown))
        spans += f'<tspan class="{style}">{html.escape(shown)}</tspan>' if shown else ""
    title = f"<title>{full}</title>" if full else ""
    return f'<svg x="{x}" y="{y}" width="{wide}" height="20"><text x="0" y="16">{title}{spans}</text></svg>'


def _name(lane: Lane) -> str:
    if lane.actor == OTHERS:
        return "others"
    return lane.actor if lane.side == "sensor" else actor_text(lane.actor, 400)


def _things(items: Sequence[Evidence]) -> str:
    """What the like in a row were done to: the first few of them."""
    found = list(dict.fromkeys(i["object"] for i in items if i["object"]))
    return ", ".join(found[:2]) + (f" and {len(found) - 2} more" if len(found) > 2 else "")


def _title(item: Evidence) -> str:
    """All of an event in a few lines, for a pointer that rests on it."""
    place = item["source"]
    where = f"{place['file']}:{place['line']}" if place["file"] else ""
    if item["topic"]:
        where = f"{item['topic']}[{item['partition']}] offset {item['offset']}"
    met = f"{item['rule']}: {item['clause']}" if item["clause"] else item["rule"]
    lines = (iso_time(item["time"]), item["summary"], facts_text(item, 12), met, where)
    return "&#10;".join(_say(line, 400) for line in lines if line)


def _say(text: str, limit: int) -> str:
    return html.escape(clean(text, limit))


def _stamp(micros: int) -> str:
    return iso_time(micros)[:19].replace("T", " ")


def _clock(micros: int, before: int) -> str:
    """The time of day, with the day where it is another than before's, and milliseconds within one second."""
    text = iso_time(micros)
    if len(text) < 20:
        return text
    if iso_time(before)[:10] != text[:10]:
        return f"{text[5:10]} {text[11:19]}"
    return text[11:23] if iso_time(before)[:19] == text[:19] else text[11:19]


def _duration(micros: int) -> str:
    """`12 s`, `4 min 10 s`, `2 h 3 min`, `5 d 1 h`."""
    seconds = micros // 1_000_000
    if seconds < 1:
        return f"{micros // 1000} ms"
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next(n for n, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)
