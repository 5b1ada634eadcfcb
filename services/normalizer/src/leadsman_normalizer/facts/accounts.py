"""ServiceAccounts and the tokens asked for them: where Kubernetes identities meet the cloud's."""

from __future__ import annotations

from leadsman_common.events import ServiceAccountFacts, TokenFacts
from leadsman_normalizer.facts.values import Tree, mapping, number, text_map, texts

ROLE_ARN = "eks.amazonaws.com/role-arn"
GCP_ACCOUNT = "iam.gke.io/gcp-service-account"
AZURE_CLIENT = "azure.workload.identity/client-id"
ISSUED = "authentication.kubernetes.io/issued-credential-id"


def service_account_facts(body: Tree, why: list[str]) -> ServiceAccountFacts:
    """The cloud identities that a ServiceAccount's annotations name."""
    annotations = text_map(mapping(body, "metadata", why), "annotations", why)
    return {
        "role_arn": annotations.get(ROLE_ARN, ""),
        "gcp_service_account": annotations.get(GCP_ACCOUNT, ""),
        "azure_client_id": annotations.get(AZURE_CLIENT, ""),
    }


def token_facts(namespace: str, name: str, request: Tree, annotations: dict[str, str], why: list[str]) -> TokenFacts:
    """A TokenRequest: for whom, for which audiences, how long; the token itself is never read."""
    spec = mapping(request, "spec", why)
    return {
        "service_account": f"system:serviceaccount:{namespace}:{name}",
        "audiences": texts(spec, "audiences", why),
        "expiration_seconds": number(spec, "expirationSeconds", why) or 0,
        "issued_credential_id": annotations.get(ISSUED, ""),
    }
