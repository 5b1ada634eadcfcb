"""What admission webhooks made of an object: who changed it, and which images it has that nobody asked for (K17)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from leadsman_common.events import PodFacts
from leadsman_normalizer.facts.pod import LISTS
from leadsman_normalizer.facts.values import mappings, text

_MUTATION: Final = "mutation.webhook.admission.k8s.io/"
MAX_WEBHOOKS: Final = 50


def mutated_by(annotations: dict[str, str]) -> list[str]:
    """The webhook configurations that changed the object, in order.

    By annotations `mutation.webhook.admission.k8s.io/round_N_index_M`, each {configuration, webhook, mutated} as JSON:
    https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/
    """
    found: list[str] = []
    for key in sorted(key for key in annotations if key.startswith(_MUTATION))[:MAX_WEBHOOKS]:
        try:
            told = msgspec.json.decode(annotations[key])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        name = told.get("configuration") if isinstance(told, dict) and told.get("mutated") is True else None
        if isinstance(name, str) and name not in found:
            found.append(name)
    return found


def injected_images(path: tuple[str, ...], request: dict[str, Any], stored: PodFacts) -> list[str]:
    """The images in the stored object that the request, a whole object, did not name. `path` leads to the PodSpec."""
    spec: Any = request
    for key in path:
        spec = spec.get(key) if isinstance(spec, dict) else None
    if not isinstance(spec, dict):
        return []
    asked = {text(container, "image", []) for key in LISTS for container in mappings(spec, key, [])}
    images = (c["image_raw"] for c in stored["containers"] if c["list"] in LISTS.values())
    return list(dict.fromkeys(image for image in images if image and image not in asked))
