"""Settings of ingest-k8s, read once from LEADSMAN_* variables."""

from __future__ import annotations

from dataclasses import dataclass

from leadsman_common.http_settings import Listening
from leadsman_common.settings import Common, SettingError, setting


@dataclass(frozen=True)
class Settings(Listening, Common):
    """Where to listen, and who may post."""

    audit_senders: str = setting("file of who may post for which cluster: docs/sources/kubernetes.md", "")
    audit_anyone: bool = setting("whether whoever can connect may post for any cluster", False)

    def __post_init__(self) -> None:
        """Check what no type says."""
        problems = self.listening_problems()
        if self.listen_port < 0:
            problems.append("LEADSMAN_LISTEN_PORT is not set: the port for the audit webhook")
        if bool(self.audit_senders) == self.audit_anyone:
            problems.append("either LEADSMAN_AUDIT_SENDERS, the file of who may post, or LEADSMAN_AUDIT_ANYONE=true")
        if problems:
            raise SettingError("\n".join(problems))
