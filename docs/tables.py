"""The tables of settings, topics, metrics and rights in docs/ and SECURITY.md, as the code has them.

`.venv/bin/python docs/tables.py` rewrites them; a test holds the files to what this makes.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from prometheus_client import Counter, Info
from prometheus_client.metrics import MetricWrapperBase

from leadsman_cli.config_command import settings_of
from leadsman_common import metrics, topics
from leadsman_common.http_settings import Listening
from leadsman_common.settings import Common, variable
from leadsman_notifier.channel import ChannelConfig
from leadsman_notifier.channels import CHANNELS

REPO = Path(__file__).resolve().parents[1]
NOTIFICATIONS = REPO / "docs" / "notifications.md"
CONFIGURATION, OPERATIONS = REPO / "docs" / "configuration.md", REPO / "docs" / "operations.md"
SECURITY = REPO / "SECURITY.md"
_ORDER = ("ingest-", "normalizer", "detector", "notifier")  # the way of a record
SERVICES = sorted(
    (path.parent.name for path in REPO.glob("services/*/pyproject.toml")),
    key=lambda name: (next(at for at, start in enumerate(_ORDER) if name.startswith(start)), name),
)


def settings_tables() -> str:
    """What all services share, then each service's own."""
    shared = {field.name for field in dataclasses.fields(Common)}
    parts = [_settings("All services", Common, set())]
    listening = {field.name for field in dataclasses.fields(Listening)}
    parts += [_settings("Services that take requests over HTTP", Listening, set())]
    parts += [_settings(service, settings_of(service), shared | listening) for service in SERVICES]
    return "\n\n".join(parts)


def topics_table() -> str:
    """Every topic with its owner, partitions and retention."""
    declared = topics.load(REPO / "schemas" / "topics").values()
    rows = [(f"`{t.name}`", t.owner, str(t.partitions), _duration(t.retention_ms, t.cleanup_policy)) for t in declared]
    return _table(("topic", "owner", "partitions", "kept"), rows)


def retentions_table() -> str:
    """What changes the retention of each topic."""
    declared = topics.load(REPO / "schemas" / "topics").values()
    rows = [(f"`{t.retention_setting}`", _duration(t.retention_ms, t.cleanup_policy), f"`{t.name}`") for t in declared]
    return _table(("setting, in milliseconds", "default", "topic"), rows)


def acls_table() -> str:
    """What each service reads and writes on Kafka, as the topics' files name it."""
    declared = topics.load(REPO / "schemas" / "topics").values()
    everyone = [*SERVICES, "cli"]
    rows = [
        (
            service,
            ", ".join(f"`{t.name}`" for t in declared if service in t.consumers),
            ", ".join(f"`{t.name}`" for t in declared if service in t.producers),
        )
        for service in everyone
    ]
    return _table(("service", "reads", "writes"), rows)


def metrics_table() -> str:
    """Every metric, its labels and its meaning."""
    found = [m for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)]
    rows = []
    for metric in found:
        described = next(iter(metric.describe()))
        suffix = "_total" if isinstance(metric, Counter) else "_info" if isinstance(metric, Info) else ""
        name = described.name + suffix
        labels = ", ".join(getattr(metric, "_labelnames", ()))
        rows.append((f"`{name}`", labels, described.documentation))
    return _table(("metric", "labels", "meaning"), rows)


def channels_tables() -> str:
    """Every type of channel with the fields of its own, and the defaults where it has others."""
    shared = {f.name: f for f in msgspec.structs.fields(ChannelConfig)}
    parts = []
    for name, config in CHANNELS.items():
        hints = get_type_hints(config, include_extras=True)
        rows = []
        for field in msgspec.structs.fields(config):
            if field.name in shared and field.default == shared[field.name].default:
                continue
            meaning = next(m.description for m in hints[field.name].__metadata__ if isinstance(m, msgspec.Meta))
            default = (
                "must be given" if field.required else "none" if field.default in ("", ()) else f"`{field.default}`"
            )
            rows.append((f"`{field.name}`", default, meaning))
        parts.append(
            f"**`{name}`**: {(config.__doc__ or '').strip()}\n\n{_table(('field', 'default', 'meaning'), rows)}"
        )
    return "\n\n".join(parts)


MADE = {
    NOTIFICATIONS: {"channels": channels_tables},
    CONFIGURATION: {"settings": settings_tables, "retentions": retentions_table},
    OPERATIONS: {"topics": topics_table, "metrics": metrics_table},
    SECURITY: {"acls": acls_table},
}


def render(path: Path) -> str:
    """The page with its tables put between their marks."""
    page = path.read_text(encoding="utf-8")
    for name, make in MADE[path].items():
        begin, end = f"<!-- {name}: made by docs/tables.py -->", f"<!-- end of {name} -->"
        head, _, rest = page.partition(begin)
        _, mark, tail = rest.partition(end)
        if not mark:
            raise ValueError(f"{path}: no marks for {name}")
        page = f"{head}{begin}\n\n{make()}\n\n{mark}{tail}"
    return page


def _settings(title: str, cls: type[Any], left_out: set[str]) -> str:
    kinds = get_type_hints(cls)
    rows = [
        (
            f"`{variable(field.name)}`",
            _default(field, kinds[field.name]),
            field.metadata["meaning"] + (" (*secret*)" if field.metadata["secret"] else ""),
        )
        for field in dataclasses.fields(cls)
        if field.name not in left_out
    ]
    return f"**{title}**\n\n{_table(('setting', 'default', 'meaning'), rows)}"


def _default(field: dataclasses.Field[Any], kind: Any) -> str:
    if field.name == "data_dir":  # it differs from machine to machine
        return "below the system's temporary folder"
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "must be given"
    if kind is bool:
        return "`true`" if value else "`false`"
    if isinstance(value, tuple) and value:
        return f"`{','.join(value)}`"
    return f"`{value}`" if value not in ("", {}, ()) else "empty"


def _duration(ms: int, policy: str) -> str:
    if policy == "compact":
        return "the last value of each key"
    hours = ms // 3_600_000
    return "for ever" if ms < 0 else f"{hours} h" if hours < 96 else f"{hours // 24} d"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def main() -> int:
    """Rewrite the pages."""
    for path in MADE:
        path.write_text(render(path), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
