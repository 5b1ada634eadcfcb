"""Settings: `LEADSMAN_*` environment variables into one frozen dataclass a service, checked at the start.

A field's variable is LEADSMAN_ and its name in upper case; its metadata holds one line of meaning. A secret may stand
in a file that LEADSMAN_NAME_FILE names instead: environments are seen by more eyes than files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

T = TypeVar("T")


class SettingError(ValueError):
    """A setting is missing or unusable; the text names the variable."""


def setting(meaning: str, default: Any = dataclasses.MISSING, *, secret: bool = False) -> Any:
    """A field of a settings class; without a default it must be given."""
    metadata = {"meaning": meaning, "secret": secret}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def load(cls: type[T], env: Mapping[str, str] | None = None) -> T:
    """Read `cls` from the environment. Raises SettingError with a line for each mistake, missing or malformed."""
    env = os.environ if env is None else env
    types = get_type_hints(cls)
    values: dict[str, Any] = {}
    mistakes: dict[str, str] = {}
    absent = False
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = variable(field.name)
        try:
            _read(field, types[field.name], env, values)
        except SettingError as error:
            mistakes[name] = str(error)
        if _needed(field) and field.name not in values:
            absent = True
            mistakes.setdefault(name, f"{name} is not set: {field.metadata['meaning']}")
    if absent:
        raise SettingError("\n".join(mistakes.values()))
    try:
        loaded = cls(**values)
    except SettingError as error:
        # what only follows from a value that could not be read is no mistake of its own
        further = [line for line in str(error).splitlines() if not any(name in line for name in mistakes)]
        raise SettingError("\n".join([*mistakes.values(), *further])) from None
    if mistakes:
        raise SettingError("\n".join(mistakes.values()))
    return loaded


def secret_values(field_name: str, given: tuple[str, ...]) -> Callable[[], tuple[str, ...]]:
    """Return a function that gives a secret setting as it is now: its file is read again when it changes.

    Without a file it is what was `given` at the start. A file that cannot be read leaves the values as they were.
    """
    path = os.environ.get(f"{variable(field_name)}_FILE", "")
    if not path:
        return lambda: given
    known: dict[str, Any] = {"stat": None, "values": given}

    def values() -> tuple[str, ...]:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            stat = Path(path).stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != known["stat"]:
                text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
                known.update(stat=seen, values=_parse(path, text, tuple[str, ...]))
        return cast("tuple[str, ...]", known["values"])

    return values


def variable(field_name: str) -> str:
    """The environment variable of a field."""
    return f"LEADSMAN_{field_name.upper()}"


def shown(settings: Any) -> dict[str, Any]:
    """The settings as a map for the log, secrets hidden."""
    return {
        f.name: ("***" if f.metadata.get("secret") and getattr(settings, f.name) else getattr(settings, f.name))
        for f in dataclasses.fields(settings)
    }


def _needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _read(field: dataclasses.Field[Any], kind: Any, env: Mapping[str, str], values: dict[str, Any]) -> None:
    """Put the field's value into `values`, where the environment has one."""
    name = variable(field.name)
    hidden = _secret_file(f"{name}_FILE", env) if field.metadata.get("secret") else None
    if hidden is None:
        if name in env:
            values[field.name] = _parse(name, env[name], kind)
    elif kind == dict[str, str]:  # the secret part of a map, beside the part that anyone may see
        values[field.name] = {**_parse(name, env.get(name, ""), kind), **_parse(f"{name}_FILE", hidden, kind)}
    elif env.get(name):
        raise SettingError(f"{name} and {name}_FILE are both set")
    else:
        values[field.name] = _parse(f"{name}_FILE", hidden, kind)


def _secret_file(name: str, env: Mapping[str, str]) -> str | None:
    """What the file that `name` names holds, less the line end; None where the variable is not set."""
    if not env.get(name):
        return None
    try:
        return Path(env[name]).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{name}={env[name]!r} cannot be read: {error}") from error


def _parse(name: str, text: str, kind: Any) -> Any:
    """A value of `kind`: str, int, float, bool, tuple[str, ...] (commas) or dict[str, str] (k=v, commas)."""
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}[
                text.lower()
            ]
        if kind in (int, float, str):
            return kind(text)
        if kind == tuple[str, ...]:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if kind == dict[str, str]:
            pairs = (part.partition("=") for part in text.split(",") if part.strip())
            return {k.strip(): v.strip() for k, _, v in pairs}
    except (ValueError, KeyError) as error:
        raise SettingError(f"{name}={text!r} is not a {getattr(kind, '__name__', kind)}") from error
    raise TypeError(f"{name}: no parser for {kind}")


@dataclasses.dataclass(frozen=True)
class Common:
    """What every service is told."""

    kafka_bootstrap: str = setting("Kafka brokers, host:port, comma-separated", "127.0.0.1:9092")
    kafka_options: dict[str, str] = setting(
        "librdkafka options passed through: name=value, comma-separated", dict, secret=True
    )
    schema_registry_url: str = setting("schema registry for the topic `alerts` (Confluent's protocol); empty: none", "")
    schema_registry_options: dict[str, str] = setting(
        "options of confluent-kafka's registry client: name=value, comma-separated", dict, secret=True
    )
    topic_prefix: str = setting("put in front of every topic and consumer group", "")
    ledger: bool = setting("keep account of every record on the topic `ledger`, for leadsman verify", True)
    http_host: str = setting("address for /healthz, /readyz and /metrics", "127.0.0.1")
    http_port: int = setting("port for /healthz, /readyz and /metrics; 0 chooses a free one, -1 none", -1)
    log_level: str = setting("debug, info, warning or error", "info")
    secrets_look_s: float = setting(
        "how often files of secrets and certificates are looked at for changes, in seconds; 0: never", 30.0
    )
    traces_endpoint: str = setting(
        "OTLP/HTTP collector that OpenTelemetry traces are sent to, http://HOST:4318; empty: there are none", ""
    )
    traces_sample: float = setting("share of the records that ingest begins a trace for, 0 to 1", 0.01)
