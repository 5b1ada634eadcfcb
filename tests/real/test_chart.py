"""The Helm chart, linted, rendered, packed, and validated strictly against the Kubernetes schemas.

The schemas are those of kubernetes-validate, installed by its hashes into a folder of the test's own.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import chart
import pytest
import yaml

from leadsman_common.settings import load

sys.path.append(str(chart.CHART.parent))
generate = importlib.import_module("generate")  # it knows every service's settings
CUSTOM = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}  # test_chart_server.py has their CRDs
SETTINGS = {**{name: (cls,) for name, cls in generate.CLASSES.items()}, "topics": (), "test": (), "canary": ()}
MINIMAL = ("-f", str(chart.SETS["defaults"]))
OAUTH = "kafka.options.security\\.protocol=sasl_ssl,kafka.options.sasl\\.mechanism=OAUTHBEARER"
REFUSED = {
    "detector.replicas=two": "at '/detector/replicas': got string, want integer",
    "detector.replica=2": "at '/detector': additional properties 'replica' not allowed",
    "detector.settings.bacth=2": "at '/detector/settings': additional properties 'bacth' not allowed",
    "detector.settings.redis_url=redis://x": "additional properties 'redis_url' not allowed",
    "normalizer.secretKeys={webhook_url}": "at '/normalizer': additional properties 'secretKeys' not allowed",
    "notifier.secretKeys={slack}": "at '/notifier/secretKeys/0': value must be one of 'slack_url'",
    "notifier.secretKeys={slack_url}": "notifier.secretKeys is set and existingSecret is not",
    "notifier.existingSecret=s": "name the settings that it holds in secretKeys",
    "notifier.existingSecret=s,notifier.secretKeys={slack_url},notifier.notifyConfigMap=c": "stand in notify.yaml",
    "notifier.notifyConfigMap=c,notifier.autoscaling.kind=keda": "notifier.channels is not set",
    "notifier.channels={pager}": "notifier.channels is set and notifyConfigMap",
    "notifier.channelsSecret=s": "notifyConfigMap, whose notify.yaml names its files, is not",
    "notifier.settings.notify_config=x": "additional properties 'notify_config' not allowed",
    "notifer.replicas=1": "additional properties 'notifer' not allowed",
    "normalizer.autoscaling.kind=vpa": "value must be one of 'none', 'hpa', 'keda'",
    "kafka.bootstrap=": "kafka.bootstrap is not set",
    "kafka.bootstrap=broker": "at '/kafka/bootstrap': 'broker' does not match pattern",
    "kafka.options.sasl\\.password=x": "sasl.password stands in the Secret that kafka.existingSecret names",
    "kafka.options.ssl\\.ciphers=a\\,b": "holds a comma",
    "kafka.options.security\\.protocol=tls": "security.protocol tls is none of",
    "kafka.options.security\\.protocol=sasl_ssl": "kafka.existingSecret is not set: with SASL",
    "kafka.options.security\\.protocol=sasl_ssl,kafka.options.sasl\\.mechanism=GSSAPI": "GSSAPI is none of",
    OAUTH: "says where tokens come from",
    f"{OAUTH},kafka.options.leadsman\\.token=azure": "says where tokens come from",
    f"{OAUTH},kafka.options.leadsman\\.token=oidc": "with oidc, its key options holds",
    "kafka.options.security\\.protocol=sasl_plaintext,kafka.options.sasl\\.mechanism=AWS_MSK_IAM": "goes over TLS only",
    "normalizer.listen.enabled=true": "normalizer takes no requests",
    "normalizer.listen.port=80": "at '/normalizer/listen/port': minimum",
    "kafka.ca.configMap=a,kafka.ca.secret=b": "kafka.ca: configMap and secret are both set",
    "redis.url=redis://h": "redis: existingSecret and url are both set",
    "redis.existingSecret=": "redis.existingSecret is not set",
    "redis.existingSecret=,redis.url=rediss://:pw@h": "redis.url holds a user or password",
    "canary.everyMinutes=7": "at '/canary/everyMinutes': value must be one of 0, 1",
    "canary.enabled=true,kafka.bootstrap=": "kafka.bootstrap is not set",
    "ingestAws.enabled=true": "there is nothing to read",
    "ingestAws.enabled=true,ingestAws.settings.kinesis_stream=s,ingestAws.replicas=2": "checkpoint_table is not set",
    "ingestGcp.enabled=true": "ingestGcp.settings.pubsub_subscriptions is not set",
    "ingestGcp.enabled=true,ingestGcp.settings.pubsub_subscriptions=s,ingestGcp.autoscaling.kind=keda": "no Kafka",
    "ingestK8s.enabled=true": "either existingSecret, whose key senders",
    "ingestK8s.enabled=true,ingestK8s.existingSecret=s,ingestK8s.listen.enabled=false": "nothing could post to it",
    "ingestAzure.enabled=true": "secretKeys={eventhubs_connection} is not set",
    "ingestKafka.enabled=true": "ingestKafka.sourcesConfigMap is not set",
    "normalizer.autoscaling.minReplicas=9": "maxReplicas is below minReplicas",
    "kafka.clientCertSecret=c,detector.autoscaling.kind=keda": "detector.autoscaling.authenticationRef is not set",
}


@pytest.fixture(params=chart.SETS)
def rendered(request):
    return chart.template("-f", str(chart.SETS[request.param]))


@pytest.fixture(scope="module")
def schemas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kubernetes-validate")
    lock = Path(__file__).with_name("kubernetes-validate.lock")
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "-q", "--no-deps", "--require-hashes"]
    subprocess.run([*uv, "--target", str(folder), "-r", str(lock)], check=True, timeout=300)
    sys.path.append(str(folder))
    yield importlib.import_module("kubernetes_validate")
    sys.path.remove(str(folder))


def test_there_are_six_sets():
    assert {*chart.SETS} == {"canary", "defaults", "everything", "kafka-sasl", "redis-tls", "small"}


@pytest.mark.parametrize("path", chart.SETS.values(), ids=chart.SETS)
def test_lint(path):
    chart.helm("lint", "--strict", "--kube-version", chart.OLDEST, str(chart.CHART), "-f", str(path))


@pytest.mark.parametrize("version", [chart.OLDEST, chart.NEWEST])
def test_objects_are_what_kubernetes_knows(rendered, schemas, version):
    checked = 0
    for one in [*rendered, *chart.pods(rendered)]:
        if one["kind"] not in CUSTOM:
            schemas.validate(one, version, strict=True)
            checked += 1
    assert checked > 10


def test_what_kubernetes_does_not_know_is_found(schemas):
    (pod, *_) = chart.pods(chart.template(*MINIMAL))
    pod["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(schemas.ValidationError):
        schemas.validate(pod, chart.NEWEST, strict=True)


def test_names_and_labels(rendered):
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered]
    assert len(set(names)) == len(names)
    for kind, name in names:
        assert len(name) <= 63, (kind, name)
    for one in rendered:
        assert {"app.kubernetes.io/name", "app.kubernetes.io/instance", "helm.sh/chart"} <= {*one["metadata"]["labels"]}


def test_selectors_select_one_service_and_all_of_it(rendered):
    labels = {pod["metadata"]["name"]: pod["metadata"]["labels"] for pod in chart.pods(rendered)}
    selectors = {
        (one["kind"], one["metadata"]["name"]): one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
        for one in rendered
        if one["kind"] in ("Deployment", "Service", "PodDisruptionBudget")
    }
    assert selectors or not chart.of_kind("Deployment", rendered)
    for (_, name), selector in selectors.items():
        assert [pod for pod, own in labels.items() if selector.items() <= own.items()] == [
            f"{name.removesuffix('-in')}-pod"
        ]


def test_every_pod_has_a_policy_of_its_own(rendered):
    policies = chart.of_kind("NetworkPolicy", rendered)
    for pod in chart.pods(rendered):
        own = pod["metadata"]["labels"]
        on = [p for p in policies if p["spec"]["podSelector"]["matchLabels"].items() <= own.items()]
        assert all({*p["spec"]["policyTypes"]} == {"Ingress", "Egress"} for p in on)
        assert len(on) == (2 if policies else 0), pod["metadata"]["name"]


def test_volumes_are_mounted_and_mounts_are_volumes(rendered):
    for pod in chart.pods(rendered):
        (container,) = pod["spec"]["containers"]
        mounts = container.get("volumeMounts", [])
        assert sorted(m["name"] for m in mounts) == sorted(v["name"] for v in pod["spec"].get("volumes", []))
        assert len({m["mountPath"] for m in mounts}) == len(mounts)
        folders = [m["mountPath"] for m in mounts if m.get("readOnly")]
        values = [e["value"] for e in container.get("env", []) if e.get("value", "").startswith("/etc/")]
        assert all(any(value.startswith(folder) for folder in folders) for value in values)


# what stands in the Secrets that a service cannot start without
SECRETS = {"LEADSMAN_EVENTHUBS_CONNECTION": "Endpoint=sb://a.servicebus.windows.net/;SharedAccessKey=a"}


def test_the_services_take_what_they_are_given(rendered, monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda _path: True)  # what they mount is not here
    for pod in chart.pods(rendered):
        (container,) = pod["spec"]["containers"]
        env = {e["name"]: e["value"] for e in container.get("env", []) if e["name"].startswith("LEADSMAN_")}
        classes = SETTINGS[container["name"]]
        files = {name for name in env if name.endswith("_FILE")}
        fields = {f"LEADSMAN_{f.upper()}": m for cls in classes for f, m in cls.__dataclass_fields__.items()}
        if classes:
            assert {name.removesuffix("_FILE") for name in env} <= {*fields}
            assert all(fields[name.removesuffix("_FILE")].metadata["secret"] for name in files)
        given = {
            name: value
            for name, value in env.items()
            if name not in {*files, "LEADSMAN_RULES_DIR", "LEADSMAN_CLUSTERS"}
        }
        given |= {name: SECRETS[name] for name in (file.removesuffix("_FILE") for file in files) if name in SECRETS}
        for cls in classes:
            load(cls, given)


def test_no_secret_stands_in_an_environment():
    found = chart.template("-f", str(chart.SETS["everything"]))
    env = {e["name"] for pod in chart.pods(found) for e in pod["spec"]["containers"][0].get("env", [])}
    secret = {"KAFKA_OPTIONS", "REDIS_URL", "SLACK_URL", "WEBHOOK_URL", "WEBHOOK_TOKEN"}
    assert {f"LEADSMAN_{name}_FILE" for name in secret} <= env
    assert not {f"LEADSMAN_{name}" for name in secret - {"KAFKA_OPTIONS"}} & env


@pytest.mark.parametrize(("values", "message"), REFUSED.items(), ids=REFUSED)
def test_a_wrong_value_is_refused_with_a_message(values, message):
    done = chart.template(*MINIMAL, "--set", values, check=False)
    assert done.returncode
    assert message in done.stderr
    assert len(done.stderr) < 1000


def test_a_section_is_merged_over_the_defaults(tmp_path):
    values = {
        "podSecurityContext": {"runAsUser": None, "fsGroup": 1_000_680_000},
        "kafka": {"options": {"message.max.bytes": 2_097_152}},
        "defaults": {"tolerations": [{"key": "a"}], "nodeSelector": {"a": "b"}},
        "normalizer": {
            "replicas": 0,
            "topologySpread": False,
            "podDisruptionBudget": {"enabled": False},
            "resources": {"limits": None},
            "tolerations": [],
            "nodeSelector": {"c": "d"},
        },
        "detector": {"settings": {"stall_s": 0.5, "batch": 1_000_000}, "podLabels": {"team": "security"}},
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    found = chart.template(*MINIMAL, "-f", str(tmp_path / "values.yaml"))
    by_name = {one["metadata"]["name"]: one for one in chart.of_kind("Deployment", found)}
    normalizer = by_name["rel-leadsman-normalizer"]["spec"]
    pod = normalizer["template"]["spec"]
    assert normalizer["replicas"] == 0
    assert "topologySpreadConstraints" not in pod
    assert "tolerations" not in pod
    assert pod["nodeSelector"] == {"a": "b", "c": "d"}
    assert pod["containers"][0]["resources"] == {"requests": {"cpu": "100m", "memory": "128Mi"}}
    assert "runAsUser" not in pod["securityContext"]
    assert pod["securityContext"]["fsGroup"] == 1_000_680_000
    detector = by_name["rel-leadsman-detector"]["spec"]["template"]
    env = {e["name"]: e["value"] for e in detector["spec"]["containers"][0]["env"]}
    assert env["LEADSMAN_KAFKA_OPTIONS"] == "message.max.bytes=2097152"
    assert (env["LEADSMAN_STALL_S"], env["LEADSMAN_BATCH"]) == ("0.5", "1000000")
    assert detector["metadata"]["labels"]["team"] == "security"
    assert {b["metadata"]["name"] for b in chart.of_kind("PodDisruptionBudget", found)} == {
        "rel-leadsman-detector",
        "rel-leadsman-notifier",
    }


def test_kafka_and_redis_over_tls():
    def env_of(values):
        return {
            pod["spec"]["containers"][0]["name"]: {e["name"]: e["value"] for e in pod["spec"]["containers"][0]["env"]}
            for pod in chart.pods(chart.template("-f", str(chart.SETS[values])))
            if pod["spec"]["containers"][0].get("env")
        }

    for name, env in env_of("kafka-sasl").items():
        options = dict(pair.split("=") for pair in env["LEADSMAN_KAFKA_OPTIONS"].split(","))
        assert options == {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "ssl.ca.location": "/etc/leadsman/kafka-ca/ca.crt",
        }, name
        assert env["LEADSMAN_KAFKA_OPTIONS_FILE"] == "/etc/leadsman/kafka/options"
    for env in env_of("redis-tls").values():
        options = dict(pair.split("=") for pair in env["LEADSMAN_KAFKA_OPTIONS"].split(","))
        assert options == {"security.protocol": "SASL_SSL", "sasl.mechanism": "AWS_MSK_IAM"}
    url = env_of("redis-tls")["detector"]["LEADSMAN_REDIS_URL"]
    assert url == "rediss://redis.example.com:6380/0?ssl_ca_certs=/etc/leadsman/redis-ca/ca.crt"


def test_channels_of_a_file():
    found = chart.template("-f", str(chart.SETS["redis-tls"]))
    (pod,) = (pod for pod in chart.pods(found) if pod["metadata"]["name"] == "rel-leadsman-notifier-pod")
    (container,) = pod["spec"]["containers"]
    env = {e["name"]: e["value"] for e in container["env"]}
    assert env["LEADSMAN_NOTIFY_CONFIG"] == "/etc/leadsman/notify/notify.yaml"
    assert env["LEADSMAN_CLUSTERS"] == "/etc/leadsman/clusters/clusters.yaml"
    volumes = {volume.pop("name"): volume for volume in pod["spec"]["volumes"]}
    assert volumes["notify"] == {"configMap": {"name": "leadsman-notify"}}
    assert volumes["channels"] == {"secret": {"secretName": "leadsman-channels", "defaultMode": 0o440}}
    assert {"/etc/leadsman/notify", "/etc/leadsman/channels"} <= {m["mountPath"] for m in container["volumeMounts"]}


def test_keda_asks_for_the_lag_of_each_channel_of_a_file():
    values = "notifier.notifyConfigMap=c,notifier.channels={pager,soc},notifier.autoscaling.kind=keda"
    (scaled,) = chart.of_kind("ScaledObject", chart.template(*MINIMAL, "--set", values))
    asked = {trigger["metadata"]["consumerGroup"] for trigger in scaled["spec"]["triggers"]}
    assert asked == {"leadsman-notifier-pager", "leadsman-notifier-soc"}


def test_the_small_profile_fits_two_cores():
    """With Kafka (1 GiB, half a core) and Redis (512 MiB) of compose, on a node of 2 CPUs and 4 GiB."""
    found = chart.template(
        "-f", str(chart.SETS["small"]), "--set", "ingestGcp.enabled=true,ingestGcp.settings.pubsub_subscriptions=s"
    )
    cpu = memory = 0
    for deployment in chart.of_kind("Deployment", found):
        assert deployment["spec"]["replicas"] == 1
        resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        cpu += int(resources["requests"]["cpu"].removesuffix("m"))
        memory += int(resources["limits"]["memory"].removesuffix("Mi"))
    assert cpu <= 500
    assert memory + 1024 + 512 <= 4096 * 0.75


def test_an_upgrade_leaves_what_cannot_change(tmp_path):
    packed = [
        chart.helm("package", str(chart.CHART), "-d", str(tmp_path), "--version", v, "--app-version", v)
        for v in ("1.0.0", "2.0.0+x")
    ]
    assert len(packed) == 2
    old, new = (
        chart.template("-f", str(chart.SETS[s]), chart=next(tmp_path.glob(f"*-{v}*")))
        for v, s in (("1.0.0", "defaults"), ("2.0.0", "everything"))
    )

    def fixed(found):
        return {
            (o["kind"], o["metadata"]["name"]): o["spec"].get("selector" if o["kind"] == "Deployment" else "clusterIP")
            for o in found
            if o["kind"] in ("Deployment", "Service")
        }

    assert fixed(old).items() <= fixed(new).items()


def test_a_long_name_of_a_release_fits():
    for one in chart.template("-f", str(chart.SETS["everything"]), release="r" * 53):
        assert len(one["metadata"]["name"]) <= (52 if one["kind"] == "CronJob" else 63)
        assert all(len(str(value)) <= 63 for value in one["metadata"]["labels"].values())


def test_the_rules_are_in_the_package():
    (rule,) = chart.of_kind("PrometheusRule", chart.template("-f", str(chart.SETS["everything"])))
    assert rule["spec"] == yaml.safe_load((chart.REPO / "deploy" / "prometheus" / "leadsman.rules.yaml").read_text())


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """NOTES.txt for these values: helm prints it only at an install, so a copy of the chart makes an object of it."""
    copy = tmp_path_factory.mktemp("notes") / "leadsman"
    shutil.copytree(chart.CHART, copy)
    (copy / "templates" / "NOTES.txt").rename(copy / "NOTES")
    (copy / "templates" / "notes.yaml").write_text('kind: Notes\ntext: {{ tpl (.Files.Get "NOTES") . | quote }}\n')

    def render(*arguments):
        return chart.of_kind("Notes", chart.template(*MINIMAL, *arguments, chart=copy))[0]["text"]

    return render


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("detector.replicas=7", "at most 7 pods; its topic has 6 partitions"),
        ("detector.replicas=7", "and are never ready"),
        ("notifier.replicas=4", "at most 4 pods; its topic has 3 partitions"),
        ("normalizer.autoscaling.kind=hpa,normalizer.autoscaling.maxReplicas=8", "at most 8 pods; its topic has 6"),
        ("serviceMonitor.enabled=true", "name Prometheus' own in networkPolicy.metricsFrom"),
        ("ingestAws.enabled=true,ingestAws.settings.kinesis_stream=s", "neither a checkpoint table nor a claim"),
        ("logLevel=info", "No way in is enabled"),
        ("logLevel=info", "Alerts go to the notifier's log only"),
        ("topicPrefix=prod.", "Alerts are on the topic prod.alerts"),
    ],
)
def test_notes_say_what_is_worth_knowing(notes, values, said):
    assert said in notes("--set", values)


def test_notes_know_of_a_notify_yaml(notes):
    assert "log only" not in notes("--set", "notifier.notifyConfigMap=c")


def test_notes_say_no_more_than_that(notes):
    quiet = ["ingestGcp.enabled=true,ingestGcp.settings.pubsub_subscriptions=s,notifier.existingSecret=s"]
    text = notes("--set", *quiet, "--set", "notifier.secretKeys={slack_url},detector.replicas=6,notifier.replicas=3")
    for unsaid in ("at most", "No way in", "neither", "log only", "metricsFrom"):
        assert unsaid not in text


def test_helm_test_asks_each_enabled_service():
    (pod,) = chart.of_kind("Pod", chart.template(*MINIMAL, "--set", "notifier.enabled=false"))
    python, option, script, *names = pod["spec"]["containers"][0]["command"]
    assert (python, option) == ("python", "-c")
    compile(script, "helm test", "exec")
    assert names == ["rel-leadsman-detector", "rel-leadsman-normalizer"]


def canary(*values):
    """The canary's objects by kind."""
    found = chart.template("-f", str(chart.SETS["canary"]), *values)
    return {one["kind"]: one for one in found if one["metadata"]["name"].startswith("rel-leadsman-canary")}


def test_a_canary_may_write_one_object_and_nothing_else():
    found = canary()
    name = found["ConfigMap"]["metadata"]["name"]
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["patch"]}
    assert found["Role"]["rules"] == [rule]
    assert found["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]
    for job in (found["CronJob"]["spec"]["jobTemplate"], found["Job"]):
        pod = job["spec"]["template"]["spec"]
        assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == (name, False)
        assert pod["containers"][0]["args"][:4] == ["--namespace", "default", "--name", name]


@pytest.mark.parametrize(
    ("minutes", "schedule", "every"), [(1, "*/1 * * * *", "1m"), (5, "*/5 * * * *", "5m"), (60, "0 * * * *", "60m")]
)
def test_a_canary_says_when_the_next_one_comes(minutes, schedule, every):
    job = canary("--set", f"canary.everyMinutes={minutes}")["CronJob"]["spec"]
    assert job["schedule"] == schedule
    assert job["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"][-2:] == ["--every", every]


@pytest.mark.parametrize(("minutes", "hook"), [(5, "pre-delete"), (0, "post-install,post-upgrade")])
def test_the_last_canary_says_so(minutes, hook):
    found = canary("--set", f"canary.everyMinutes={minutes}")
    assert ("CronJob" in found) is bool(minutes)
    assert found["Job"]["metadata"]["annotations"]["helm.sh/hook"] == hook
    assert found["Job"]["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "--retire"


def test_there_is_no_canary_unless_it_is_wanted():
    assert not [one for one in chart.template(*MINIMAL) if "canary" in one["metadata"]["name"]]
