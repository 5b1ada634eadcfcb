"""Alerts as one HTML page that stands by itself: `leadsman scan -o html`, `leadsman show ALERT -o html`.

No script, no font and no picture from elsewhere; its own policy forbids them too. A chain of events has its timeline.
Every string of an alert may be an attacker's: it is made visible, cut and escaped.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from leadsman_common.alerts import LEVELS, Alert, Evidence, iso_time, level_rank
from leadsman_common.chain import actor_text, decisive, in_order, side_of, what_text
from leadsman_common.incidents import Incident, counted, gathered, incidents
from leadsman_common.timeline import STYLE, draw
from leadsman_common.visible import clean

MAX_FACTS = 12
_URL = re.compile(r"https://[A-Za-z0-9.-]+(?:/[A-Za-z0-9._~/?#&()+,;=%-]*)?")
_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--ink:#1c2128;--dim:#5d6673;--rule:#d8dde3;--band:#f5f7f9;--mark:#c62828}
@media(prefers-color-scheme:dark){:root{--bg:#15191f;--ink:#e4e8ee;--dim:#9aa4b2;--rule:#333b46;--band:#1c222a;
--mark:#ff7b72}}
body{background:var(--bg);color:var(--ink);font:14px/1.45 ui-sans-serif,system-ui,"Segoe UI","DejaVu Sans",sans-serif;
max-width:1080px;margin:0 auto;padding:24px 16px}
h1{font-size:20px;margin:0 0 4px}p{margin:4px 0}.dim{color:var(--dim)}bdi,code{overflow-wrap:anywhere}
code{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
details{border:1px solid var(--rule);border-radius:8px;margin:10px 0;padding:8px 12px}summary{cursor:pointer}
.level{display:inline-block;min-width:9em;font-weight:700;text-transform:uppercase;font-size:12px}
.critical,.high{color:var(--mark)}.low,.informational{color:var(--dim)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:8px 0}dt{color:var(--dim)}dd{margin:0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:12px;margin:8px 0;width:100%}
th{text-align:left;color:var(--dim);font-weight:500}
td:first-child{white-space:nowrap}
th,td{padding:4px 10px 4px 0;border-top:1px solid var(--rule);vertical-align:top}tr.last{background:var(--band)}
"""


def page(alerts: Sequence[Alert], note: str = "") -> Iterator[str]:
    """The page in pieces, the worst first, each chain with the alerts of its events; `note` is a line of its own."""
    ordered = sorted(alerts, key=lambda a: (-level_rank(a["level"]), a["time"], a["id"]))
    found = incidents(ordered)
    counts = Counter(alert["level"] for alert in ordered)
    told = ", ".join(f"{counts[level]} {level}" for level in reversed(LEVELS) if counts[level]) or "nothing found"
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Leadsman</title>'
        '<meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}{STYLE}</style></head><body><h1>{counted(found)}</h1>"
        f"<p>{_say(told)}</p>" + (f'<p class="dim">{_say(note)}</p>' if note else "") + "\n"
    )
    for incident in found:
        yield _incident(incident)
    yield "</body></html>\n"


def _incident(incident: Incident) -> str:
    return _alert(incident.alert, "".join(_alert(member) for member in incident.members))


def _alert(alert: Alert, members: str = "") -> str:
    chain = in_order(alert)
    drawn = draw(alert, style=False) if len(chain) > 1 else ""
    attempt = " (attempt)" if alert["attempt"] else ""
    title = alert["title"] or alert["rule"]["title"] or alert["rule"]["name"]
    level = alert["level"] if alert["level"] in LEVELS else "medium"
    return (
        f"<details{' open' if drawn else ''}><summary>"
        f'<span class="level {level}">{_say(alert["level"])}{attempt}</span> <bdi>{_say(title, 160)}</bdi> '
        f'<span class="dim">{iso_time(alert["time"])[:19]}Z</span></summary>'
        f"<dl>{''.join(_fields(alert))}</dl>{drawn}{_table(alert, chain)}{members}</details>\n"
    )


def _fields(alert: Alert) -> Iterator[str]:
    moved = "; ".join(f"{m['by']:+d} {m['why']}" for m in alert["modifiers"])
    why = alert.get("suppressed")
    pairs = (
        ("Rule", alert["rule"]["name"]),
        ("Author", alert["rule"].get("author", "")),
        ("Licence", alert["rule"].get("license", "")),
        ("From", alert["rule"].get("origin", "")),
        ("Cluster", clean(alert["cluster"]["id"] or alert["cluster"]["name"], 160)),
        ("Who", actor_text(alert["actor"]["name"], 400)),
        ("Level", f"{alert['level']}: {moved}" if moved else ""),
        ("Held by", ", ".join(alert["joins"])),
        ("Gathers", gathered(alert)),
        ("Techniques", " ".join(alert["tags"][:20])),
        ("Suppressed", f"by {why['owner']} until {iso_time(why['until'])[:19]}Z: {why['reason']}" if why else ""),
        ("Shadow", "the rule is on trial: nobody is told" if alert.get("shadow") else ""),
        ("Id", alert["id"]),
    )
    for name, value in pairs:
        if value:
            yield f"<dt>{name}</dt><dd><bdi>{_say(value)}</bdi></dd>"
    links = [ref for ref in alert["references"] if _URL.fullmatch(ref)]
    if links:
        shown = "<br>".join(f'<a rel="noreferrer" href="{html.escape(url)}">{_say(url)}</a>' for url in links[:5])
        yield f"<dt>Read on</dt><dd>{shown}</dd>"


def _table(alert: Alert, chain: Sequence[Evidence]) -> str:
    if not chain:
        return ""
    last = decisive(alert, chain)
    rows = "".join(_row(item, last=len(chain) > 1 and item["event_id"] == last) for item in chain)
    head = "".join(f"<th>{name}</th>" for name in ("When, UTC", "Who", "What", "Met", "Because", "Where it is"))
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _row(item: Evidence, *, last: bool) -> str:
    done, thing = what_text(item)
    http = f" ({item['http']})" if item["http"] >= 400 else ""
    met = item["rule"] + (f": {item['clause']}" if item["clause"] else "")
    found = (
        iso_time(item["time"])[:23].replace("T", " "),
        f"{actor_text(item['actor'], 200)} {item['source_ip']}".strip() + f", {side_of(item)}",
        f"{done} {thing}{http}".strip(),
        met,
    )
    cells = "".join(f"<td><bdi>{_say(text)}</bdi></td>" for text in found)
    kind = ' class="last"' if last else ""
    return f"<tr{kind}>{cells}<td>{'<br>'.join(_facts(item))}</td><td>{_places(item)}</td></tr>"


def _facts(item: Evidence) -> Iterable[str]:
    for fact in item["matched"][:MAX_FACTS]:
        changed = "<b>changed</b> " if fact.get("changed") else ""
        yield f"{changed}<code>{_say(fact['field'], 120)}</code> <bdi>{_say(fact['value'])}</bdi>"
    if len(item["matched"]) > MAX_FACTS:
        yield f"and {len(item['matched']) - MAX_FACTS} more"


def _places(item: Evidence) -> str:
    """Where the event and the record that it was made of stand."""
    raw = item["source"]
    places = []
    if item["topic"]:
        places.append(f"{item['topic']}/{item['partition']}/{item['offset']}")
    if raw["topic"]:
        places.append(f"{raw['topic']}/{raw['partition']}/{raw['offset']}")
    if raw["file"]:
        places.append(f"{raw['file']}:{raw['line']}")
    return "<br>".join(f"<code>{_say(place)}</code>" for place in places)


def _say(text: str, limit: int = 400) -> str:
    return html.escape(clean(text, limit))
