"""Settings of ingest-gcp, read once from LEADSMAN_* variables."""

from __future__ import annotations

import re
from dataclasses import dataclass

from leadsman_common.http_settings import Listening
from leadsman_common.settings import Common, SettingError, setting
from leadsman_ingest_gcp.tokens import Expected

SERVICE = "ingest-gcp"
_EXPORT = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?")
_PROJECT = re.compile(r"[a-z0-9.:-]{4,100}")
_SUBSCRIPTION = re.compile(r"projects/[^/]+/subscriptions/[^/]+")


@dataclass(frozen=True)
class Settings(Listening, Common):
    """What to pull, whose pushes to take. Credentials and PUBSUB_EMULATOR_HOST are the Google SDK's business."""

    pubsub_subscriptions: tuple[str, ...] = setting(
        "subscriptions to pull, projects/PROJECT/subscriptions/NAME each, comma-separated", ()
    )
    pubsub_endpoint: str = setting("endpoint of Pub/Sub, host:port; empty: the global one", "")
    pull_messages: int = setting("messages in hand at most, over all subscriptions", 4000)
    pull_bytes: int = setting("bytes in hand at most, over all subscriptions", 64 * 1024 * 1024)
    batch_messages: int = setting("messages produced together at most", 500)
    batch_wait_s: float = setting("seconds to wait for a fuller batch", 0.02)
    push_audiences: tuple[str, ...] = setting(
        "audiences that a push subscription's token may be for, comma-separated; needed with LEADSMAN_LISTEN_PORT", ()
    )
    push_emails: tuple[str, ...] = setting(
        "service accounts that push subscriptions may sign with, comma-separated; needed with LEADSMAN_LISTEN_PORT", ()
    )
    push_keys_url: str = setting(
        "where the keys are that sign the tokens, a JWK set", "https://www.googleapis.com/oauth2/v3/certs"
    )
    storage_exports: tuple[str, ...] = setting(
        "exports of Cloud Logging that --since reads, gs://BUCKET or gs://BUCKET/PREFIX each, comma-separated", ()
    )
    storage_done_file: str = setting("file that notes which objects of the exports are read; empty: none", "")
    gke_inventory: tuple[str, ...] = setting(
        "projects in which GKE is asked which clusters there are, comma-separated: one without logs is an alert", ()
    )
    gke_endpoint: str = setting("where GKE's API is", "https://container.googleapis.com")
    inventory_s: float = setting("seconds between two such questions", 900.0)
    max_bad_in_a_row: int = setting("bad messages in a row after which the service stops; 0: never", 1000)
    broken_s: float = setting("seconds to bear a broken Kafka or Pub/Sub before leaving the process", 300.0)

    def __post_init__(self) -> None:
        """Check what no type says."""
        problems = self.listening_problems()
        if not self.pubsub_subscriptions and not self.listens and not self.storage_exports:
            problems.append(
                "neither LEADSMAN_PUBSUB_SUBSCRIPTIONS, to pull, nor LEADSMAN_LISTEN_PORT, for pushes, is set"
            )
        if self.listens:
            problems += [
                f"LEADSMAN_{name.upper()} is not set: whose pushes are taken"
                for name in ("push_audiences", "push_emails")
                if not getattr(self, name)
            ]
            if not self.push_keys_url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
                problems.append(f"LEADSMAN_PUSH_KEYS_URL={self.push_keys_url!r} must begin with https://")
        problems += [
            f"LEADSMAN_PUBSUB_SUBSCRIPTIONS: {path!r} is not projects/PROJECT/subscriptions/NAME"
            for path in self.pubsub_subscriptions
            if not _SUBSCRIPTION.fullmatch(path)
        ]
        problems += [
            f"LEADSMAN_STORAGE_EXPORTS: {place!r} is not gs://BUCKET or gs://BUCKET/PREFIX"
            for place in self.storage_exports
            if not _EXPORT.fullmatch(place)
        ]
        problems += [
            f"LEADSMAN_GKE_INVENTORY: {project!r} is no project"
            for project in self.gke_inventory
            if not _PROJECT.fullmatch(project)
        ]
        if not self.gke_endpoint.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            problems.append(f"LEADSMAN_GKE_ENDPOINT={self.gke_endpoint!r} must begin with https://")
        if self.inventory_s < 1:
            problems.append(f"LEADSMAN_INVENTORY_S={self.inventory_s} is less than 1")
        if min(self.pull_messages, self.pull_bytes, self.batch_messages) < 1:
            problems.append("LEADSMAN_PULL_MESSAGES, _PULL_BYTES and LEADSMAN_BATCH_MESSAGES must be positive")
        if problems:
            raise SettingError("\n".join(problems))

    @property
    def listens(self) -> bool:
        """Whether pushes are taken."""
        return self.listen_port >= 0

    def expected(self) -> Expected:
        """What a push's token must say."""
        return Expected(frozenset(self.push_audiences), frozenset(self.push_emails))
