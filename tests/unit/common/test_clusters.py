"""clusters.yaml: what it gives to which cluster, and what is wrong with one that cannot be used."""

import pytest

from leadsman_common.clusters import EXPECTABLE, NO_CLUSTERS, InvalidClustersError, Mirror, load_clusters

REGISTRY = """
defaults:
    registry_mirrors:
        - {mirror: "Mirror.example.com:5000/hub/", upstream: docker.io}
clusters:
    - name: prod
      registry_mirrors:
          - {mirror: one.example.com, upstream: quay.io}
    - {name: prod, provider: aws, account: "111122223333", region: eu-west-1, registry_mirrors: []}
    - name: plain
"""


def cluster(name, provider="", account="", region=""):
    return {"id": "x", "name": name, "provider": provider, "account": account, "region": region}


def load(tmp_path, text):
    path = tmp_path / "clusters.yaml"
    path.write_text(text)
    return load_clusters(path)


@pytest.mark.parametrize(
    ("asked", "mirrors"),
    [
        (cluster("prod"), (Mirror("one.example.com", "quay.io"),)),
        (cluster("prod", "gcp", "p", "r"), (Mirror("one.example.com", "quay.io"),)),
        (cluster("prod", "aws", "111122223333", "eu-west-1"), ()),
        (cluster("prod", "aws", "111122223333", "us-east-1"), (Mirror("one.example.com", "quay.io"),)),
        (cluster("plain"), (Mirror("mirror.example.com:5000/hub", "docker.io"),)),
        (cluster("other"), (Mirror("mirror.example.com:5000/hub", "docker.io"),)),
        (cluster(""), (Mirror("mirror.example.com:5000/hub", "docker.io"),)),
    ],
    ids=["by name", "in any account", "most keys", "another region", "no settings", "not listed", "nothing known"],
)
def test_settings_of_a_cluster(tmp_path, asked, mirrors):
    registry = load(tmp_path, REGISTRY)
    assert registry.of(asked).registry_mirrors == mirrors
    assert registry.of(asked) is registry.of(asked)


def test_without_a_file_or_with_an_empty_one_nothing_is_set(tmp_path):
    assert NO_CLUSTERS.of(cluster("a")).registry_mirrors == ()
    assert load(tmp_path, "").of(cluster("a")).registry_mirrors == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "the file: must be a map"),
        ("clusters: {}", "clusters: must be a list"),
        ("cluster: []", "unknown cluster; known are clusters, defaults"),
        ("clusters: [{provider: aws}]", "clusters, number 1: has no name"),
        ("clusters: [{name: a, account: 111122223333}]", "account: must be text, not 111122223333; put quotes"),
        ("clusters: [{name: a}, {name: a}]", "number 2: the cluster stands in the list already"),
        ("clusters: [{name: a, mirrors: []}]", "unknown mirrors"),
        ("defaults: {name: a}", "defaults: unknown name"),
        ("defaults: {registry_mirrors: {}}", "defaults: registry_mirrors: must be a list"),
        ("defaults: {registry_mirrors: [{mirror: a.b}]}", "number 1: has no upstream"),
        ("defaults: {registry_mirrors: [{mirror: hub, upstream: a.b}]}", "does not begin with the host"),
        ("defaults: {registry_mirrors: [{mirror: 'https://a.b/c', upstream: a.b}]}", "is not HOST[:PORT][/PATH]"),
        ("defaults: {registry_mirrors: [{mirror: 'a.b/c:1', upstream: a.b}]}", "is not HOST[:PORT][/PATH]"),
        (
            "defaults: {registry_mirrors: [{mirror: a.b/c, upstream: a.b}, {mirror: A.b/c/, upstream: c.d}]}",
            "number 2: a.b/c stands in the list already",
        ),
        ("clusters: [{name: a, incarnation: 2}]", "incarnation: must be text, not 2; put quotes"),
        ("defaults: {incarnation: a}", "defaults: unknown incarnation"),
        ("defaults: {labels: [a]}", "labels: must be a map"),
        ("defaults: {labels: {a: 1}}", "labels: a: must be text"),
        ("defaults: {node_ranges: [10.0.0.1/8]}", "node_ranges: 10.0.0.1/8 has host bits set"),
        ("defaults: {expects: eks-audit}", "expects: must be a list of sources, or a map"),
        ("defaults: {expects: [eks]}", "expects: unknown eks; known are k8s-audit,"),
        ("defaults: {expects: {k8s-audit: 5}}", "expects: k8s-audit: 5 is not a duration such as"),
        ("defaults: {expects: {k8s-audit: 0m}}", "'0m' is not a duration"),
        ("a: b: c", "mapping values"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_place(tmp_path, text, said):
    with pytest.raises(InvalidClustersError) as raised:
        load(tmp_path, text)
    assert str(raised.value).startswith(str(tmp_path / "clusters.yaml"))
    assert said in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidClustersError, match=r"nowhere\.yaml"):
        load_clusters(tmp_path / "nowhere.yaml")


PLACES = """
defaults: {tenant: platform, expects: [k8s-audit]}
clusters:
    - {name: shop, provider: aws, account: "111122223333", region: eu-west-1, incarnation: "2026-11"}
    - {name: twin, provider: gcp, region: europe-west4}
    - {name: twin, provider: aws}
    - name: own
      owner: team-a
      labels: {env: prod}
      tenant: team-a
      expects: {k8s-audit: 10m, aks-audit: 2d}
      node_ranges: [10.0.0.0/16]
      nat_ranges: [198.51.100.8/29, "2001:db8::/32"]
      impersonating_proxies: [system:serviceaccount:teleport:agent]
"""


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        (cluster("shop", "aws", "111122223333", "eu-west-1"), ("aws", "111122223333", "eu-west-1", "shop", "2026-11")),
        (cluster("shop"), ("aws", "111122223333", "eu-west-1", "shop", "2026-11")),
        (cluster("shop", "", "", "eu-west-1"), ("aws", "111122223333", "eu-west-1", "shop", "2026-11")),
        (cluster("own", "k8s", "a"), ("k8s", "a", "", "own", "")),
        (cluster("twin", "gcp", "p", "europe-west4"), ("gcp", "p", "europe-west4", "twin", "")),
    ],
    ids=["exact", "name alone", "name and region", "more than the entry says", "two of that name"],
)
def test_the_identity_of_a_cluster(tmp_path, asked, known):
    registry = load(tmp_path, PLACES)
    *keys, incarnation = known
    found = registry.resolve(asked)
    assert [found[key] for key in ("provider", "account", "region", "name")] == keys
    assert found["id"] == "/".join(keys) + (f"@{incarnation}" if incarnation else "")
    assert registry.of(asked).claimed
    assert registry.resolve(asked) is registry.resolve(asked)


@pytest.mark.parametrize(
    "asked",
    [
        cluster("shop", "aws", "444455556666", "eu-west-1"),
        cluster("twin"),
        cluster("nobody", "aws"),
        cluster(""),
    ],
    ids=["another account", "two might be meant", "not listed", "nothing known"],
)
def test_a_cluster_of_no_entry_stays_as_it_came(tmp_path, asked):
    registry = load(tmp_path, PLACES)
    assert registry.resolve(asked) is asked
    assert not registry.of(asked).claimed
    assert registry.of(asked).tenant == "platform"


def test_what_an_entry_says_of_a_cluster(tmp_path):
    registry = load(tmp_path, PLACES)
    found = registry.of(cluster("own"))
    assert (found.owner, found.tenant, found.labels) == ("team-a", "team-a", {"env": "prod"})
    assert found.expects == {"k8s-audit": 600, "aks-audit": 172_800}
    assert found.node_ranges == ("10.0.0.0/16",)
    assert found.nat_ranges == ("198.51.100.8/29", "2001:db8::/32")
    assert found.impersonating_proxies == ("system:serviceaccount:teleport:agent",)
    assert registry.of(cluster("shop")).expects == {"k8s-audit": 3600}
    assert [entry.cluster()["id"] for entry in registry.entries] == [
        "aws/111122223333/eu-west-1/shop@2026-11",
        "gcp//europe-west4/twin",
        "aws///twin",
        "///own",
    ]
    assert registry.settings(registry.entries[3]) == found


def test_what_may_be_expected_are_the_formats_that_can_be_read():
    from leadsman_normalizer.sources import SOURCES

    assert set(EXPECTABLE) == set(SOURCES) - {"eks-unknown"}
