"""The API server of these tests writes the log that its policy says."""

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  resources: [{group: "", resources: [configmaps]}]
  namespaces: [default]
- level: None
"""


def test_the_log_holds_what_the_policy_says(api_server, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with api_server(policy) as server:
        start = server.audit_size()
        server.kubectl("create", "configmap", "seen", "--from-literal=a=b", user="alice")
        server.kubectl("create", "namespace", "unseen", user="alice")
        events = server.audit_events(start)
    assert {(e["verb"], e["objectRef"]["name"], e["level"], e["stage"]) for e in events} == {
        ("create", "seen", "Request", "ResponseComplete")
    }
    assert events[0]["requestObject"]["data"] == {"a": "b"}
