"""The one event of Leadsman: its types, its routing flags, and how an action is spelled.

The truth is schemas/avro/audit-event.avsc, which documents every field; a test holds the two together.
"""

from __future__ import annotations

import enum
import hashlib
import ipaddress
from functools import lru_cache
from typing import Final, NamedTuple, TypedDict


class User(TypedDict):
    """Who, as the API server's authenticator named it (audit.k8s.io UserInfo)."""

    username: str
    uid: str
    groups: list[str]
    extra: dict[str, list[str]]


class ObjectRef(TypedDict):
    """The object a request is about (audit.k8s.io ObjectReference). All empty for a non-resource request."""

    resource: str
    namespace: str
    name: str
    uid: str
    apiGroup: str
    apiVersion: str
    resourceVersion: str
    subresource: str


class ResponseStatus(TypedDict):
    """metav1.Status of the answer."""

    code: int
    status: str
    reason: str
    message: str


class Cluster(TypedDict):
    """The cluster, as the transport knew it: the event itself never names it."""

    id: str
    name: str
    provider: str
    account: str
    region: str


Actor = TypedDict(
    "Actor",
    {
        "name": str,
        "class": str,
        "authenticated": str,
        "impersonating": bool,
        "unauthenticated": bool,
        "groups": list[str],
        "namespace": str,
        "service_account": str,
        "pod": str,
        "node": str,
        "credential_id": str,
    },
)


class Endpoint(TypedDict):
    """Where the request came from."""

    ip: str
    public: bool


class Outcome(TypedDict):
    """What came of the request. The authorisation decision is not the outcome: admission may still refuse."""

    authz: str
    reason: str
    binding: str
    binding_kind: str
    binding_namespace: str
    role: str
    role_kind: str
    subject: str
    subject_kind: str
    http: int
    grpc: int
    effective: bool


class Cloud(TypedDict):
    """The cloud's side: the identity behind the user, or the cloud API call itself."""

    service: str
    operation: str
    principal: str
    canonical_arn: str
    session: str
    access_key_id: str
    principal_id: str
    error: str
    parameters: str


class Owner(TypedDict):
    """An ownerReference."""

    kind: str
    name: str
    uid: str
    controller: bool


class Hook(TypedDict):
    """A command run beside the main one."""

    which: str
    argv: list[str]


class ContainerPort(TypedDict):
    """A port of a container."""

    container: int
    host: int
    proto: str


class Mount(TypedDict):
    """A volume mount."""

    volume: str
    path: str
    sub_path: str
    read_only: bool


class ContainerFacts(TypedDict):
    """A container of any of the three lists."""

    list: str
    name: str
    image_raw: str
    image_host: str
    image_repo: str
    image_suffix: str
    image_name: str
    tag: str
    digest: str
    command: list[str]
    args: list[str]
    hooks: list[Hook]
    command_text: str
    privileged: bool
    allow_priv_esc: bool | None
    run_as_user: int | None
    caps_add: list[str]
    caps_drop: list[str]
    proc_mount: str
    seccomp: str
    apparmor: str
    host_process: bool
    ports: list[ContainerPort]
    mounts: list[Mount]
    env_refs: list[str]


class VolumeFacts(TypedDict):
    """A volume."""

    name: str
    type: str
    host_path_raw: str
    host_path: str
    host_path_type: str
    tier: str
    relation: str
    matched: str
    socket: bool
    read_only: bool
    claim: str
    driver: str
    audiences: list[str]


class PodFacts(TypedDict):
    """A pod spec, from whatever carried it."""

    kind: str
    template_path: str
    owners: list[Owner]
    owner_kind: str
    owner_name: str
    generate_name: str
    service_account: str
    automount: bool | None
    host_network: bool
    host_pid: bool
    host_ipc: bool
    share_process_ns: bool
    host_process: bool
    host_users: bool | None
    node_name: str
    run_as_user: int | None
    seccomp: str
    containers: list[ContainerFacts]
    volumes: list[VolumeFacts]
    labels: dict[str, str]
    mirror: bool
    replicas: int | None
    stdin: bool
    psa_violations: str
    injected_images: list[str]
    mutated_by: list[str]
    break_glass: bool


class PolicyRuleFacts(TypedDict):
    """One PolicyRule; grants and classes are judged inside it, never across rules."""

    groups: list[str]
    resources: list[str]
    resource_names: list[str]
    verbs: list[str]
    non_resource_urls: list[str]
    grants: list[str]
    classes: list[str]


class RoleFacts(TypedDict):
    """A Role or ClusterRole."""

    kind: str
    name: str
    namespace: str
    rules: list[PolicyRuleFacts]
    aggregate_to: list[str]
    built_in: bool


class SubjectFacts(TypedDict):
    """A subject of a binding."""

    kind: str
    namespace: str
    name: str


class BindingFacts(TypedDict):
    """A RoleBinding or ClusterRoleBinding."""

    kind: str
    name: str
    namespace: str
    role_kind: str
    role_name: str
    subjects: list[SubjectFacts]
    anonymous: bool
    self: bool
    members: list[str]


class ServicePort(TypedDict):
    """A port of a Service."""

    port: int
    target: str
    node: int
    proto: str


class ServiceFacts(TypedDict):
    """A Service."""

    type: str
    ports: list[ServicePort]
    external_ips: list[str]
    source_ranges: list[str]
    lb_class: str
    internal: bool
    selector: dict[str, str]
    external_name: str
    sensitive_targets: list[str]
    exposure: list[str]


IngressFacts = TypedDict(
    "IngressFacts",
    {
        "kind": str,
        "hosts": list[str],
        "tls": bool,
        "class": str,
        "sensitive_targets": list[str],
    },
)


class ExecFacts(TypedDict):
    """A command, terminal or port opened in a pod."""

    kind: str
    argv: list[str]
    command_text: str
    container: str
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool
    transport: str
    interactive: bool
    pod: str
    namespace: str


class TokenFacts(TypedDict):
    """A TokenRequest."""

    service_account: str
    audiences: list[str]
    expiration_seconds: int
    issued_credential_id: str


class ServiceAccountFacts(TypedDict):
    """A ServiceAccount."""

    role_arn: str
    gcp_service_account: str
    azure_client_id: str


class PvFacts(TypedDict):
    """A PersistentVolume."""

    volume: VolumeFacts


class CsrFacts(TypedDict):
    """A CertificateSigningRequest, or the decision on one."""

    name: str
    signer: str
    usages: list[str]
    cn: str
    o: list[str]
    requestor: str
    approved_by: str
    conditions: list[str]
    expiration_seconds: int


class WebhookRule(TypedDict):
    """A rule of a webhook."""

    operations: list[str]
    groups: list[str]
    resources: list[str]
    scope: str


class WebhookConfig(TypedDict):
    """One webhook."""

    name: str
    url: str
    service: str
    failure_policy: str
    namespace_selector: str
    object_selector: str
    rules: list[WebhookRule]


class WebhookFacts(TypedDict):
    """A MutatingWebhookConfiguration or ValidatingWebhookConfiguration."""

    kind: str
    name: str
    configs: list[WebhookConfig]


class IamMapping(TypedDict):
    """An entry of mapRoles or mapUsers in the aws-auth ConfigMap."""

    arn: str
    username: str
    groups: list[str]


class ConfigMapFacts(TypedDict):
    """The ConfigMap kube-system/aws-auth, or any other that holds credentials: of that only the keys are told."""

    roles: list[IamMapping]
    users: list[IamMapping]
    accounts: list[str]
    credentials: list[str]


class CloudAccessFacts(TypedDict):
    """Access to the cluster that the cloud's API gives or takes: EKS access entries and policies, AKS roles."""

    principal_arn: str
    policy: str
    policy_arn: str
    scope: str
    namespaces: list[str]
    groups: list[str]
    username: str
    type: str


class CloudAssumeFacts(TypedDict):
    """A service account takes a cloud identity."""

    service_account: str
    role_arn: str
    session_arn: str
    issued_key: str
    issuer: str
    source: str
    pod: str
    pod_uid: str


class ControlPlaneFacts(TypedDict):
    """Settings of the control plane and of its logs, from a cloud API call or from the component's own log."""

    component: str
    severity: str
    location: str
    message: str
    flags: dict[str, str]
    anonymous_auth: bool | None
    authorization_modes: list[str]
    audit_policy: str
    version: str
    logging_types_off: list[str]
    logging_types_on: list[str]
    logging_off: bool
    target: str
    retention_days: int
    endpoint_public: bool | None
    endpoint_private: bool | None
    cidrs: list[str]
    auth_mode: str
    legacy_abac: bool | None
    authorized_networks: bool | None
    basic_auth: bool | None
    client_certificate: bool | None
    network_policy: bool | None
    anonymous_bindings: bool | None
    local_accounts: bool | None
    rbac: bool | None
    secrets_encrypted: bool | None
    shielded_nodes: bool | None
    release_channel: str


class CloudLinkFacts(TypedDict):
    """A cloud identity that service accounts may take, linked from the cloud's side."""

    via: str
    identity: str
    subjects: list[str]
    removed: list[str]
    issuer: str
    unbounded: bool


class NamespaceFacts(TypedDict):
    """A Namespace: the Pod Security levels that its labels set."""

    enforce: str
    enforce_version: str
    audit: str
    warn: str
    labels: dict[str, str]


class SignalFacts(TypedDict):
    """What another sensor saw: the event is a signal, no request."""

    sensor: str
    rule: str
    severity: str
    level: str
    title: str
    finding: str
    kind: str
    container: str
    image: str
    process: str
    command_line: str
    parent: str
    user: str
    node: str
    tags: list[str]
    count: int


class CloudGrant(TypedDict):
    """One thing that a cloud identity is given, or that is taken from it."""

    identity: str
    via: str
    policy: str
    policy_arn: str
    classes: list[str]
    principals: list[str]
    scope: str
    removed: bool


class CloudGrantFacts(TypedDict):
    """What cloud identities are given: policies, roles, and who may take them."""

    grants: list[CloudGrant]


class Facts(TypedDict):
    """What the objects in the request say, typed. At most a few are present."""

    pod: PodFacts | None
    role: RoleFacts | None
    binding: BindingFacts | None
    service: ServiceFacts | None
    ingress: IngressFacts | None
    exec: ExecFacts | None
    token: TokenFacts | None
    service_account: ServiceAccountFacts | None
    pv: PvFacts | None
    touched: list[str]
    csr: CsrFacts | None
    webhook: WebhookFacts | None
    config_map: ConfigMapFacts | None
    cloud_access: CloudAccessFacts | None
    cloud_assume: CloudAssumeFacts | None
    control_plane: ControlPlaneFacts | None
    cloud_link: CloudLinkFacts | None
    namespace: NamespaceFacts | None
    signal: SignalFacts | None
    cloud_grant: CloudGrantFacts | None


class Coverage(TypedDict):
    """What the record could not say."""

    body: str
    truncated: bool
    reasons: list[str]


class Source(TypedDict):
    """Where the record was read."""

    format: str
    topic: str
    partition: int
    offset: int
    source_id: str
    file: str
    line: int
    received_ms: int


class AuditEvent(TypedDict):
    """One request to a cluster or to the cloud's API about it.

    action and flags come first, so that a reader can route without decoding the rest.
    """

    action: str
    flags: int
    id: str
    time: int
    loggedTime: int
    auditID: str
    stage: str
    level: str
    verb: str
    requestURI: str
    userAgent: str
    user: User
    impersonatedUser: User | None
    sourceIPs: list[str]
    objectRef: ObjectRef
    responseStatus: ResponseStatus
    annotations: dict[str, str]
    dryRun: bool
    cluster: Cluster
    actor: Actor
    src_endpoint: Endpoint
    outcome: Outcome
    cloud: Cloud | None
    facts: Facts | None
    coverage: Coverage
    source: Source
    requestObject: str
    responseObject: str


class Flag(enum.IntFlag):
    """Bits of AuditEvent.flags: what rules ask most. A bit is never reused."""

    UNAUTHENTICATED = 1 << 0
    FORBIDDEN = 1 << 1
    FAILED = 1 << 2  # answered with an error, whoever refused it
    DRY_RUN = 1 << 3
    SERVICE_ACCOUNT = 1 << 4
    HAS_POD = 1 << 5
    TRUNCATED = 1 << 6
    EFFECTIVE = 1 << 7
    HAS_ROLE = 1 << 8
    HAS_BINDING = 1 << 9
    HAS_SERVICE = 1 << 10
    HAS_EXEC = 1 << 11
    HAS_INGRESS = 1 << 12
    NODE = 1 << 13
    CONTROL_PLANE = 1 << 14
    MANAGED_CLOUD = 1 << 15
    IMPERSONATING = 1 << 16
    HAS_TOKEN = 1 << 17
    HAS_PV = 1 << 18
    HAS_SERVICE_ACCOUNT = 1 << 19
    FAILED_AUTH = 1 << 20
    CLOUD_CALL = 1 << 21  # a call to the cloud's API, not to the cluster's
    HAS_CSR = 1 << 22
    HAS_WEBHOOK = 1 << 23
    HAS_CONFIG_MAP = 1 << 24
    HAS_CLOUD_ACCESS = 1 << 25
    HAS_CLOUD_ASSUME = 1 << 26
    HAS_CONTROL_PLANE = 1 << 27
    HAS_CLOUD_LINK = 1 << 28
    HAS_NAMESPACE = 1 << 29
    HAS_SIGNAL = 1 << 30  # what another sensor saw, no request
    HAS_CLOUD_GRANT = 1 << 31


class Action(NamedTuple):
    """An action taken apart; for a cloud API call only `operation` is set."""

    verb: str = ""
    resource: str = ""
    apiGroup: str = ""
    subresource: str = ""
    operation: str = ""


NO_REF: Final[ObjectRef] = {
    "resource": "",
    "namespace": "",
    "name": "",
    "uid": "",
    "apiGroup": "",
    "apiVersion": "",
    "resourceVersion": "",
    "subresource": "",
}
NO_ACTOR: Final[Actor] = {
    "name": "",
    "class": "unknown",
    "authenticated": "",
    "impersonating": False,
    "unauthenticated": False,
    "groups": [],
    "namespace": "",
    "service_account": "",
    "pod": "",
    "node": "",
    "credential_id": "",
}


def action_of(verb: str, resource: str, api_group: str = "", subresource: str = "") -> str:
    """Spell an action: `create pods/exec`, `patch deployments.apps`, `get /` without a resource."""
    if not resource:
        return f"{verb} /"
    group = f".{api_group}" if api_group else ""
    sub = f"/{subresource}" if subresource else ""
    return f"{verb} {resource}{group}{sub}"


@lru_cache(maxsize=8192)
def parse_action(action: str) -> Action:
    """Take an action apart again; the inverse of `action_of`, and `service:operation` for a cloud call or a signal."""
    verb, space, rest = action.partition(" ")
    if not space:
        return Action(operation=action)
    if rest == "/":
        return Action(verb=verb)
    kind, _, subresource = rest.partition("/")
    resource, _, group = kind.partition(".")
    return Action(verb, resource, group, subresource)


def event_id(cluster_id: str, audit_id: str, received: str, verb: str, uri: str, actor: str) -> str:
    """Hash that one request keeps over its stages and deliveries (DETECTIONS 1.1).

    The auditID alone would not do: a client may choose it, and an attacker would hide behind a repeated one.
    """
    text = "\x1f".join((cluster_id, audit_id, received, verb, uri, actor))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@lru_cache(maxsize=65536)
def is_public(ip: str) -> bool:
    """Whether the address is publicly routable; anything that is no address is not."""
    try:
        return ipaddress.ip_address(ip).is_global
    except ValueError:
        return False


def touches(touched: list[str], path: str) -> bool:
    """Whether a request set the fact at `path` (`pod.host_network`), by `facts.touched`.

    True for `*`, and where a touched path equals it, is a prefix of it (with or without `.*`), or lies below it.
    """
    for entry in touched:
        plain = entry.removesuffix(".*")
        if plain in ("*", path) or path.startswith(f"{plain}.") or plain.startswith(f"{path}."):
            return True
    return False
