"""clusters.yaml: what it gives to which cluster, and what is wrong with one that cannot be used."""

import pytest

from leadsman_common.clusters import NO_CLUSTERS, InvalidClustersError, Mirror, load_clusters

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
