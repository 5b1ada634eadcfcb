"""Images behind a mirror get the registry and repository of what is mirrored: clusters.yaml says which is which.

After the event is put together. `image_raw` stays as it was written, so the mirror can still be seen.
"""

from __future__ import annotations

from leadsman_common.clusters import Clusters, Mirror
from leadsman_common.events import AuditEvent
from leadsman_normalizer.facts.images import Image, parse_image


def undo_mirrors(event: AuditEvent, clusters: Clusters) -> None:
    """Put the upstream's names into the event's containers, in place."""
    pod = event["facts"]["pod"] if event["facts"] else None
    mirrors = clusters.of(event["cluster"]).registry_mirrors if pod is not None else ()
    if pod is None or not mirrors:
        return
    for container in pod["containers"]:
        image = behind(parse_image(container["image_raw"]), mirrors)
        container["image_host"], container["image_repo"] = image.host, image.repo
        container["image_suffix"], container["image_name"] = image.suffix, image.name


def behind(image: Image, mirrors: tuple[Mirror, ...]) -> Image:
    """The image as the upstream names it; the longest mirror that is its prefix, by whole segments, decides."""
    full = f"{image.host}/{image.repo}"
    found = max((m for m in mirrors if full.startswith(f"{m.mirror}/")), key=lambda m: len(m.mirror), default=None)
    if found is None:
        return image
    resolved = parse_image(found.upstream + full[len(found.mirror) :])
    return resolved._replace(tag=image.tag, digest=image.digest)
