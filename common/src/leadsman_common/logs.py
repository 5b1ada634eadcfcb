"""Structured logs: one JSON object a line on stderr, control characters escaped by JSON itself."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import structlog


class _Json(logging.Formatter):
    """What the libraries log, in the same form."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"logger": record.name, "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def setup(service: str, level: str = "info") -> Any:
    """Configure structlog for this process and return its logger, bound to the service's name."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler])
    return structlog.get_logger().bind(service=service)
