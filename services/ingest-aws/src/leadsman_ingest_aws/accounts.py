"""Clients of the AWS SDK for many accounts and regions, by the SDK's own chain of credentials.

An account of LEADSMAN_ASSUME_ROLES is reached through the role that it names there; every other one with what the
chain gives (IRSA, pod identity, a profile, the machine's role). Assumed credentials are renewed by the SDK.
"""

from __future__ import annotations

import threading
from typing import Any, Literal

import boto3
import botocore.session
from botocore.config import Config as SdkConfig
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

from leadsman_ingest_aws.config import Settings

Service = Literal["kinesis", "dynamodb", "sqs", "s3", "logs", "sts", "eks"]
# few and short: the inputs retry by themselves, and notice a stop while they wait
_SDK = SdkConfig(
    connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 2}, max_pool_connections=20
)


class Accounts:
    """Makes clients; one session an account."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sessions: dict[str, boto3.Session] = {}
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._own = ""
        self._lock = threading.Lock()  # a session is not safe to make clients of on several threads

    def client(self, service: Service, region: str = "", account: str = "") -> Any:
        """Return the client of a service in that region and account; empty: the SDK's own settings'."""
        if account not in self._settings.assume_roles:
            account = ""
        region = region or self._settings.aws_region
        with self._lock:
            key = (service, region, account)
            if key not in self._clients:
                self._clients[key] = self._session(account).client(
                    service,
                    region_name=region or None,
                    endpoint_url=self._settings.aws_endpoint_url or None,
                    config=_SDK,
                )
            return self._clients[key]

    def is_within(self, account: str) -> bool:
        """Whether the client for that account acts within it: through its role, or since it is our own account."""
        if not account or account in self._settings.assume_roles:
            return True
        if not self._own:
            self._own = self.client("sts").get_caller_identity()["Account"]
        return account == self._own

    def _session(self, account: str) -> boto3.Session:
        if account not in self._sessions:
            session = botocore.session.get_session()
            if account:
                self._assume(session, self._settings.assume_roles[account])
            self._sessions[account] = boto3.Session(botocore_session=session)
        return self._sessions[account]

    def _assume(self, session: botocore.session.Session, role: str) -> None:
        own = botocore.session.get_session()

        def create_client(name: str, **options: Any) -> Any:
            endpoint = self._settings.aws_endpoint_url or None
            return own.create_client(
                name, region_name=self._settings.aws_region or None, endpoint_url=endpoint, config=_SDK, **options
            )

        extra = {"RoleSessionName": "leadsman-ingest-aws"}
        if self._settings.assume_external_id:
            extra["ExternalId"] = self._settings.assume_external_id
        fetcher = AssumeRoleCredentialFetcher(create_client, own.get_credentials(), role, extra_args=extra)
        session._credentials = DeferredRefreshableCredentials(  # type: ignore[attr-defined]  # noqa: SLF001 - the SDK has no public way
            method="assume-role", refresh_using=fetcher.fetch_credentials
        )
