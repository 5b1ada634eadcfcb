"""Streams, queues and log groups as settings name them: by name, ARN or URL, taken apart into name, region, account."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_ARN = re.compile(r"arn:aws[a-z-]*:(?P<service>[a-z]+):(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<rest>.+)")
_NAME = re.compile(r"[A-Za-z0-9_./#-]{1,512}")
_SQS_HOST = re.compile(r"(?:sqs|queue)\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+|(?P<legacy>[a-z0-9-]+)\.queue\.[a-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """One of them. `id` is as it was given and tells it from all others; region and account may be unknown: ""."""

    id: str
    name: str
    region: str = ""
    account: str = ""
    url: str = ""


def stream(text: str) -> Place:
    """Read NAME or arn:aws:kinesis:REGION:ACCOUNT:stream/NAME. Raises ValueError, as the others do."""
    return _place(text, "kinesis", "stream/")


def log_group(text: str) -> Place:
    """Read NAME or arn:aws:logs:REGION:ACCOUNT:log-group:NAME, with or without the :* that some tools append."""
    return _place(text.removesuffix(":*"), "logs", "log-group:")


def queue(text: str) -> Place:
    """Read https://sqs.REGION.amazonaws.com/ACCOUNT/NAME or arn:aws:sqs:REGION:ACCOUNT:NAME."""
    if text.startswith("arn:"):
        return _place(text, "sqs", "")
    parts = urlsplit(text)
    path = [part for part in parts.path.split("/") if part]
    if parts.scheme not in ("http", "https") or not parts.hostname or len(path) != 2 or not path[0].isdigit():
        raise ValueError("is not https://sqs.REGION.amazonaws.com/ACCOUNT/NAME, nor arn:aws:sqs:REGION:ACCOUNT:NAME")
    host = _SQS_HOST.fullmatch(parts.hostname)
    region = (host["region"] or host["legacy"]) if host else ""
    return Place(text, path[1], region, path[0], text)


def _place(text: str, service: str, kind: str) -> Place:
    if not text.startswith("arn:"):
        if service == "sqs" or not _NAME.fullmatch(text):
            raise ValueError(f"is neither a name nor arn:aws:{service}:REGION:ACCOUNT:{kind}NAME")
        return Place(text, text)
    arn = _ARN.fullmatch(text)
    if arn is None or arn["service"] != service or not arn["rest"].startswith(kind):
        raise ValueError(f"is not arn:aws:{service}:REGION:ACCOUNT:{kind}NAME")
    name = arn["rest"].removeprefix(kind)
    if not _NAME.fullmatch(name):
        raise ValueError(f"is not arn:aws:{service}:REGION:ACCOUNT:{kind}NAME")
    return Place(text, name, arn["region"], arn["account"])
