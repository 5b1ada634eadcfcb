"""Makes what in the chart is made from elsewhere; tests/unit/test_chart.py holds it equal.

README's table from values.yaml, the settings in values.schema.json from the services' settings classes, the alert rules
from deploy/prometheus. `python deploy/helm/generate.py` writes them.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from leadsman_common.http_settings import Listening
from leadsman_common.settings import Common

CHART = Path(__file__).parent / "leadsman"
RULES = Path(__file__).parents[1] / "prometheus" / "leadsman.rules.yaml"
SERVICES = Path(__file__).parents[2] / "services"


def section_of(service: str) -> str:
    """The name of a service's section of values: ingest-aws is ingestAws."""
    first, *rest = service.split("-")
    return first + "".join(part.capitalize() for part in rest)


def settings_class(service: str) -> type[Any]:
    """The settings class of a service's config.py."""
    found = vars(importlib.import_module(f"leadsman_{service.replace('-', '_')}.config")).values()
    (only,) = (c for c in found if isinstance(c, type) and issubclass(c, Common) and c is not Common)
    return only


# the services that have a section of values
IN_CHART = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")).keys()
CLASSES = {
    name: settings_class(name)
    for name in sorted(path.parent.name for path in SERVICES.glob("*/pyproject.toml"))
    if section_of(name) in IN_CHART
}
SETTINGS: dict[str, tuple[type[Any], ...]] = {section_of(name): (cls,) for name, cls in CLASSES.items()}
# those that can take requests over HTTP: what templates/_helpers.tpl lists under leadsman.listeners
LISTENERS = sorted(name for name, cls in CLASSES.items() if issubclass(cls, Listening))
# what templates/deployments.yaml sets itself, from values of the chart's own
THE_CHARTS = {f.name for f in dataclasses.fields(Common)} | {
    "redis_url",
    "redis_cluster",
    "data_dir",
    "state_dir",
    "rules_dir",
    "clusters",
    "audit_senders",
    "kafka_sources",
    "notify_config",
    "listen_host",
    "listen_port",
    "listen_tls_cert",
    "listen_tls_key",
    "listen_tls_client_ca",
}
BEGIN, END = "<!-- values: made by deploy/helm/generate.py -->", "<!-- end of values -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<name>[A-Za-z]\w*):")
_FLAT = re.compile(r"\[\s[^][{}]*\]|\{\s[^][{}]*\}")  # what holds only words stands on one line
_COMMENT = re.compile(r"^ *# ?(?P<text>.*)$")


def settings_of(section: str, *, secret: bool) -> list[str]:
    """The settings of a service that its section may hold, secret ones or the others."""
    fields = [f for cls in SETTINGS[section] for f in dataclasses.fields(cls)]
    return sorted({f.name for f in fields if f.metadata["secret"] is secret} - THE_CHARTS)


def schema(text: str) -> str:
    """values.schema.json with the names that each section may have, and each service's settings."""
    tree = json.loads(text)
    common = {name: {"$ref": f"#/definitions/service/properties/{name}"} for name in _service(tree)}
    tree["properties"]["defaults"]["properties"] = common
    for section in SETTINGS:
        # names one by one, not propertyNames: helm would name the wrong place for one that is refused
        own = tree["properties"][section]["properties"]
        settings = {name: {"$ref": "#/definitions/scalar"} for name in settings_of(section, secret=False)}
        own |= common | {"settings": {"type": "object", "additionalProperties": False, "properties": settings}}
        if known := settings_of(section, secret=True):
            own["secretKeys"] = {"type": "array", "uniqueItems": True, "items": {"enum": known}}
    return _FLAT.sub(_on_one_line, json.dumps(tree, indent=2)) + "\n"


def _service(tree: Any) -> list[str]:
    return list(tree["definitions"]["service"]["properties"])


def _on_one_line(found: re.Match[str]) -> str:
    return found[0][0] + " ".join(found[0][1:-1].split()) + found[0][-1]


def documented(text: str) -> Iterator[tuple[str, str, Any]]:
    """Path, meaning and default of every value that a `# --` comment stands over."""
    tree = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    meaning: list[str] = []
    for line in text.splitlines():
        if comment := _COMMENT.match(line):
            words = comment["text"]
            if words.startswith("-- "):
                meaning = [words[3:]]
            elif meaning:
                meaning.append(words)
            continue
        if key := _KEY.match(line):
            indent = len(key["indent"])
            path = [*(p for p in path if p[0] < indent), (indent, key["name"])]
            if meaning:
                names = [name for _, name in path]
                yield ".".join(names), " ".join(meaning), _at(tree, names)
        meaning = []


def undocumented(text: str) -> list[str]:
    """The values that neither have a comment nor stand below one that has."""
    known = [path for path, _, _ in documented(text)]
    return [p for p in _leaves(yaml.safe_load(text)) if not any(p == k or p.startswith(f"{k}.") for k in known)]


def table(text: str) -> str:
    """README's table."""
    rows = [
        f"| `{path}` | {_cell(meaning)} | `{json.dumps(default, ensure_ascii=False)}` |"
        for path, meaning, default in documented(text)
    ]
    return "\n".join(["| value | meaning | default |", "|---|---|---|", *rows])


def readme(text: str, values: str) -> str:
    """README.md with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(values)}\n{END}{rest.partition(END)[2]}"


def made() -> dict[Path, str]:
    """What each made file holds, by path."""
    values = (CHART / "values.yaml").read_text()
    return {
        CHART / "README.md": readme((CHART / "README.md").read_text(), values),
        CHART / "values.schema.json": schema((CHART / "values.schema.json").read_text()),
        CHART / "files" / "leadsman.rules.yaml": RULES.read_text(),
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def _at(tree: Any, names: list[str]) -> Any:
    for name in names:
        tree = tree[name]
    return tree


def _leaves(tree: Any, above: str = "") -> Iterator[str]:
    for name, value in tree.items():
        path = f"{above}.{name}" if above else name
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield path


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text)
