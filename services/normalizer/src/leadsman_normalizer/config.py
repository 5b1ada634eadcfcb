"""Settings of the normalizer, read once from LEADSMAN_* variables."""

from __future__ import annotations

from dataclasses import dataclass

from leadsman_common.clusters import Clusters, registry_of
from leadsman_common.settings import Common, SettingError, setting

RAW_TOPICS = ("raw.aws", "raw.gcp", "raw.k8s", "raw.azure")


@dataclass(frozen=True)
class Settings(Common):
    """What to read and how much at once."""

    normalizer_topics: tuple[str, ...] = setting("raw topics to read, comma-separated", lambda: RAW_TOPICS)
    normalizer_batch: int = setting("records handled and committed together", 500)
    max_bad_in_a_row: int = setting("bad records in a row after which the service stops; 0: never", 10_000)
    silence_look_s: float = setting(
        "how often it is looked at which sources are silent and which clusters nobody watches; 0: never", 60.0
    )
    clusters: str = setting("file of the registry of clusters, docs/clusters.md; none without it", "")

    def __post_init__(self) -> None:
        """Check what no type says."""
        if not self.normalizer_topics or not all(topic.startswith("raw.") for topic in self.normalizer_topics):
            raise SettingError(f"LEADSMAN_NORMALIZER_TOPICS={','.join(self.normalizer_topics)}: raw topics are due")
        if not 1 <= self.normalizer_batch <= 10_000:
            raise SettingError(f"LEADSMAN_NORMALIZER_BATCH={self.normalizer_batch} is not between 1 and 10000")
        if self.silence_look_s < 0:
            raise SettingError(f"LEADSMAN_SILENCE_LOOK_S={self.silence_look_s} is negative")

    def registry(self) -> Clusters:
        """The registry of clusters; empty without a file. Raises SettingError where the file cannot be used."""
        return registry_of(self.clusters)

    @property
    def group_id(self) -> str:
        """The consumer group of all normalizers."""
        return f"{self.topic_prefix}leadsman-normalizer"
