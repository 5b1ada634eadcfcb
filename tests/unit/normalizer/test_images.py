"""Spellings of an image that must compare equal."""

import pytest

from leadsman_normalizer.facts.images import parse_image

D = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("reference", "host", "repo", "suffix", "name", "tag", "digest"),
    [
        ("nginx", "docker.io", "library/nginx", "library/nginx", "nginx", "", ""),
        ("nginx:1.29", "docker.io", "library/nginx", "library/nginx", "nginx", "1.29", ""),
        ("docker.io/nginx", "docker.io", "library/nginx", "library/nginx", "nginx", "", ""),
        ("index.docker.io/library/nginx", "docker.io", "library/nginx", "library/nginx", "nginx", "", ""),
        ("registry-1.docker.io/a/b:1", "docker.io", "a/b", "a/b", "b", "1", ""),
        ("registry.hub.docker.com/a/b", "docker.io", "a/b", "a/b", "b", "", ""),
        ("kannix/monero-miner", "docker.io", "kannix/monero-miner", "kannix/monero-miner", "monero-miner", "", ""),
        (
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com/docker-hub/kannix/monero-miner:latest",
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com",
            "docker-hub/kannix/monero-miner",
            "kannix/monero-miner",
            "monero-miner",
            "latest",
            "",
        ),
        ("localhost/x", "localhost", "x", "x", "x", "", ""),
        ("localhost:5000/x/y:t", "localhost:5000", "x/y", "x/y", "y", "t", ""),
        ("reg.example.com:5000/x", "reg.example.com:5000", "x", "x", "x", "", ""),
        (f"a/b@{D}", "docker.io", "a/b", "a/b", "b", "", D),
        (f"a/b:1@{D}", "docker.io", "a/b", "a/b", "b", "1", D),
        ("REG.Example.com/x", "reg.example.com", "x", "x", "x", "", ""),
        ("", "", "", "", "", "", ""),
        ("://", ":", "", "", "", "", ""),  # no reference at all: no exception either
    ],
)
def test_parse_image(reference, host, repo, suffix, name, tag, digest):
    assert parse_image(reference) == (host, repo, suffix, name, tag, digest)
