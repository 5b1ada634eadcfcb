"""Which clusters EKS itself knows, in the accounts and regions that LEADSMAN_EKS_INVENTORY names.

https://docs.aws.amazon.com/eks/latest/APIReference/API_ListClusters.html, API_DescribeCluster.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

from leadsman_common.inventory import Ask
from leadsman_common.sightings import ListedCluster
from leadsman_ingest_aws.accounts import Accounts
from leadsman_ingest_aws.config import Settings


def scopes(settings: Settings, accounts: Accounts) -> dict[str, Ask]:
    """What to ask, by scope."""
    found: dict[str, Ask] = {}
    for place in settings.eks_inventory:
        account, _, region = place.partition("/")
        found[f"aws/{account}/{region}"] = partial(_list, accounts, region, account)
    return found


def _list(accounts: Accounts, region: str, account: str) -> list[ListedCluster]:
    client: Any = accounts.client("eks", region, account)
    pages = client.get_paginator("list_clusters").paginate()
    found = []
    for name in [name for page in pages for name in page["clusters"]]:
        try:
            cluster = client.describe_cluster(name=name)["cluster"]
        except client.exceptions.ResourceNotFoundException:
            continue  # deleted meanwhile
        made = cluster.get("createdAt")
        found.append(ListedCluster(region, name, int(made.timestamp() * 1000) if made else 0))
    return found
