"""notify.yaml: channels, routes, silences, quiet hours, advice and allowed addresses. docs/notifications.md tells it.

A field of a channel may stand elsewhere: `url_file: PATH` is what that file holds, `url_env: NAME` that variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import msgspec
import yaml

from leadsman_common.alerts import LEVELS
from leadsman_common.settings import SettingError
from leadsman_notifier.advice import Advice
from leadsman_notifier.channel import ChannelConfig
from leadsman_notifier.channels import CHANNELS
from leadsman_notifier.net import Net
from leadsman_notifier.outbox import GROUP_BY
from leadsman_notifier.routes import Plan, QuietHours, Route, Silence, problems

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
AnyChannel: Any = reduce(or_, CHANNELS.values())


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    channels: dict[str, Any]
    routes: tuple[Route, ...] = ()
    silences: tuple[Silence, ...] = ()
    quiet_hours: tuple[QuietHours, ...] = ()
    advice: dict[str, Advice] = {}
    allow: tuple[str, ...] = ()


class Notify(msgspec.Struct, frozen=True):
    """The file, read and checked."""

    channels: dict[str, ChannelConfig]
    plan: Plan
    advice: dict[str, Advice]
    allow: tuple[str, ...]


def load_notify(path: Path, env: Mapping[str, str] | None = None) -> Notify:
    """Read notify.yaml. Raises SettingError that names the file and the place in it, never a secret."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse({} if document is None else document, os.environ if env is None else env)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: {error}") from error
    except yaml.YAMLError as error:  # its text quotes the line, which may hold a secret
        mark = getattr(error, "problem_mark", None)
        raise SettingError(f"{path}: no YAML" + (f", line {mark.line + 1}" if mark else "")) from None
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None


def parse(document: Any, env: Mapping[str, str]) -> Notify:
    """The same from what YAML read. Raises SettingError."""
    try:
        file = msgspec.convert(document, _File)
    except msgspec.ValidationError as error:
        raise SettingError(str(error)) from None
    if not file.channels:
        raise SettingError("channels: none is given")
    channels = {name: _channel(name, fields, env) for name, fields in file.channels.items()}
    routes = file.routes or (Route(channels=tuple(channels)),)
    plan = Plan(routes, file.silences, file.quiet_hours)
    if wrong := problems(plan, tuple(channels)):
        raise SettingError("; ".join(wrong))
    Net(file.allow)
    return Notify(channels, plan, file.advice, file.allow)


def _channel(name: str, fields: Any, env: Mapping[str, str]) -> ChannelConfig:
    if not _NAME.fullmatch(name):
        raise SettingError(f"channels: {name!r} must be lower-case letters, digits and hyphens")
    if not isinstance(fields, dict):
        raise SettingError(f"channels.{name}: must be a map")
    if fields.get("type") not in CHANNELS:
        raise SettingError(f"channels.{name}: type is one of {', '.join(sorted(CHANNELS))}")
    try:
        config: ChannelConfig = msgspec.convert(_filled(name, fields, env), AnyChannel)
    except msgspec.ValidationError as error:
        raise SettingError(f"channels.{name}: {error}") from None
    if config.min_level not in (*LEVELS, "info"):
        raise SettingError(f"channels.{name}: min_level {config.min_level!r} is no level")
    if config.limit_per_minute < 0 or config.timeout_s <= 0 or config.group_s <= 0:
        raise SettingError(f"channels.{name}: limit_per_minute is at least 0, group_s and timeout_s are above 0")
    if unknown := set(config.group_by) - set(GROUP_BY):
        raise SettingError(f"channels.{name}: group_by {sorted(unknown)}: known are {', '.join(GROUP_BY)}")
    return config


def _filled(name: str, fields: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """The fields with those that stand in a file or a variable read."""
    known = CHANNELS[fields["type"]].__struct_fields__
    out = dict(fields)
    for key, value in fields.items():
        base, _, where = str(key).rpartition("_")
        if key in known or where not in ("file", "env") or base not in known:
            continue
        if base in fields:
            raise SettingError(f"channels.{name}: {base} and {key} are both given")
        del out[key]
        out[base] = _read_file(name, value) if where == "file" else env.get(str(value), "")
        if not out[base]:
            raise SettingError(f"channels.{name}: {key} {value!r} is empty or not there")
    return out


def _read_file(name: str, path: Any) -> str:
    try:
        return Path(str(path)).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"channels.{name}: {path!r} cannot be read: {error}") from error
