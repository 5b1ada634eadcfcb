"""ConfigMaps that hold credentials, where a Secret should be: which keys, never the values (DETECTIONS B21)."""

from __future__ import annotations

from typing import Final

from leadsman_normalizer.facts.values import Tree, mapping
from leadsman_normalizer.redact import is_secret_name, mask

MAX_KEYS: Final = 100
MAX_VALUE_CHARS: Final = 64 * 1024


def credentials(body: Tree) -> list[str]:
    """The keys of `data` that are named as a secret is, or whose value has a part that would be masked.

    Of a long value the beginning is looked at.
    """
    found = []
    for key, value in mapping(body, "data", []).items():
        if not isinstance(value, str) or not value.strip():
            continue
        beginning = value[:MAX_VALUE_CHARS]
        if is_secret_name(key) or mask(beginning) != beginning:
            found.append(key)
    return sorted(found)[:MAX_KEYS]
