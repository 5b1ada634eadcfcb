"""An alert as an OCSF Detection Finding: what lies on `alerts.ocsf`. Pure.

https://schema.ocsf.io/1.5.0/classes/detection_finding (class 2004). The version is pinned; a consumer may rely on it.
Empty things are left out: OCSF has no empty values. Text is the alert's own, as JSON carries it.
"""

from __future__ import annotations

import re
from typing import Any

from leadsman_common.alerts import Alert, Evidence

VERSION = "1.5.0"
CLASS_UID = 2004
_SEVERITY = {"informational": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
_CREATE, _UPDATE = 1, 2
_ACTIVITY = {_CREATE: "Create", _UPDATE: "Update"}
_RULE, _CORRELATION = 1, 99
_TECHNIQUE = re.compile(r"attack\.(t\d{4})(?:\.(\d{3}))?", re.IGNORECASE)
_PROVIDERS = {"aws": "AWS", "gcp": "GCP", "azure": "Azure"}
_ACCOUNTS = {"aws": (10, "AWS Account"), "gcp": (11, "GCP Project"), "azure": (13, "Azure Subscription")}
_TACTIC_UIDS = {
    "reconnaissance": "TA0043", "resource-development": "TA0042", "initial-access": "TA0001", "execution": "TA0002",
    "persistence": "TA0003", "privilege-escalation": "TA0004", "defense-evasion": "TA0005",
    "credential-access": "TA0006", "discovery": "TA0007", "lateral-movement": "TA0008", "collection": "TA0009",
    "exfiltration": "TA0010", "command-and-control": "TA0011", "impact": "TA0040",
}  # fmt: skip
# names of those that rules name; OCSF wants one, so any other is named by its id
_TECHNIQUES = {
    "T1036": "Masquerading", "T1040": "Network Sniffing", "T1053": "Scheduled Task/Job",
    "T1059": "Command and Scripting Interpreter", "T1068": "Exploitation for Privilege Escalation",
    "T1078": "Valid Accounts", "T1098": "Account Manipulation", "T1105": "Ingress Tool Transfer",
    "T1133": "External Remote Services", "T1190": "Exploit Public-Facing Application", "T1204": "User Execution",
    "T1496": "Resource Hijacking", "T1525": "Implant Internal Image", "T1528": "Steal Application Access Token",
    "T1548": "Abuse Elevation Control Mechanism", "T1550": "Use Alternate Authentication Material",
    "T1552": "Unsecured Credentials", "T1562": "Impair Defenses", "T1609": "Container Administration Command",
    "T1610": "Deploy Container", "T1611": "Escape to Host", "T1613": "Container and Resource Discovery",
}  # fmt: skip


def to_ocsf(alert: Alert, product_version: str, *, again: bool = False) -> dict[str, Any]:
    """The Detection Finding. Times are Unix milliseconds, as OCSF's timestamps are.

    `again`: its id was told before, which its revision does not say.
    """
    activity = _UPDATE if again else _CREATE
    chain = alert["evidence"]
    severity = _SEVERITY.get(alert["level"], 99)
    suppressed = alert.get("suppressed")
    return _full(
        {
            "class_uid": CLASS_UID,
            "class_name": "Detection Finding",
            "category_uid": 2,
            "category_name": "Findings",
            "activity_id": activity,
            "activity_name": _ACTIVITY[activity],
            "type_uid": CLASS_UID * 100 + activity,
            "type_name": f"Detection Finding: {_ACTIVITY[activity]}",
            "time": _ms(alert["time"]),
            "start_time": _ms(min((e["time"] for e in chain), default=0)),
            "end_time": _ms(max((e["time"] for e in chain), default=0)),
            "severity_id": severity,
            "severity": alert["level"].capitalize() if severity != 99 else alert["level"],
            "status_id": 3 if suppressed else 1,
            "status": "Suppressed" if suppressed else "New",
            "status_detail": f"{suppressed['owner']}: {suppressed['reason']}" if suppressed else "",
            "message": alert["title"] or alert["rule"]["title"],
            "is_alert": True,
            "metadata": {
                "version": VERSION,
                "uid": alert["id"],
                "event_code": alert["rule"]["name"],
                "product": {"name": "Leadsman", "vendor_name": "Leadsman", "version": product_version},
                "profiles": ["cloud", "security_control"] if alert["cluster"]["provider"] in _PROVIDERS else [],
                "logged_time": _ms(alert["detected_time"]),
            },
            "cloud": _cloud(alert),
            "finding_info": {
                "uid": alert["id"],
                "title": alert["title"] or alert["rule"]["title"] or alert["rule"]["name"],
                "types": [alert["rule"]["name"]],
                "created_time": _ms(alert["detected_time"]) or _ms(alert["time"]),
                "modified_time": _ms(alert["time"]) if again else 0,
                "first_seen_time": _ms(min((e["time"] for e in chain), default=0)),
                "last_seen_time": _ms(max((e["time"] for e in chain), default=0)),
                "data_sources": sorted({e["source"]["format"] for e in chain if e["source"]["format"]}),
                "src_url": alert["references"][0] if alert["references"] else "",
                "analytic": {
                    "uid": alert["rule"]["id"],
                    "name": alert["rule"]["name"],
                    "desc": alert["rule"]["title"],
                    "type_id": _CORRELATION if alert["joins"] else _RULE,
                    "type": "Correlation" if alert["joins"] else "Rule",
                },
                "attacks": _attacks(alert["tags"]),
                "related_events_count": len(chain),
                "related_events": [{"uid": own} for own in alert.get("members", [])],
            },
            "resources": _resources(alert),
            "evidences": [_evidence(alert, item) for item in chain],
            "unmapped": {
                "revision": alert["revision"],
                "attempt": alert["attempt"] or None,
                "joins": alert["joins"],
                "modifiers": [{"by": m["by"], "why": m["why"]} for m in alert["modifiers"]],
                "rules_digest": alert["rules_digest"],
                "rule_level": alert["rule"]["level"],
                "rule_author": alert["rule"].get("author", ""),
                "rule_license": alert["rule"].get("license", ""),
                "rule_origin": alert["rule"].get("origin", ""),
            },
        }
    )


def _cloud(alert: Alert) -> dict[str, Any]:
    cluster = alert["cluster"]
    if cluster["provider"] not in _PROVIDERS:
        return {}
    kind, named = _ACCOUNTS[cluster["provider"]]
    return {
        "provider": _PROVIDERS[cluster["provider"]],
        "region": cluster["region"],
        "account": {"uid": cluster["account"], "name": cluster["account"], "type_id": kind, "type": named},
    }


def _resources(alert: Alert) -> list[dict[str, Any]]:
    ref, cluster = alert["objectRef"], alert["cluster"]
    name = "/".join(part for part in (ref["namespace"], ref["name"]) if part)
    kind = f"{ref['resource']}.{ref['apiGroup']}" if ref["apiGroup"] else ref["resource"]
    thing = {"type": kind, "name": name, "namespace": ref["namespace"], "uid": ref["uid"] or name}
    whole = {
        "type": "cluster",
        "name": cluster["name"],
        "uid": cluster["id"] or cluster["name"],
        "region": cluster["region"],
    }
    return [r for r in (thing if ref["resource"] else {}, whole if whole["uid"] else {}) if r]


def _evidence(alert: Alert, item: Evidence) -> dict[str, Any]:
    """One event: who, from where, which operation, and beneath `data` what of it decided."""
    last = item["event_id"] == alert["evidence"][-1]["event_id"]
    groups = [{"name": name} for name in alert["actor"]["groups"]] if last else []
    return {
        "name": item["summary"],
        "uid": item["event_id"],
        "actor": {"user": {"name": item["actor"], "type": item["actor_class"], "groups": groups}},
        "src_endpoint": {"ip": item["source_ip"]},
        "http_request": {"user_agent": item["user_agent"]},
        "api": {"operation": item["action"], "response": {"code": item["http"] or None, "message": item["reason"]}},
        "data": {
            "audit_id": item["audit_id"],
            "object": item["object"],
            "rule": item["rule"],
            "clause": item["clause"],
            "matched": {m["field"]: m["value"] for m in item["matched"]},
            "raw": {
                "topic": item["source"]["topic"],
                "partition": item["source"]["partition"] if item["source"]["topic"] else None,
                "offset": item["source"]["offset"] if item["source"]["topic"] else None,
                "source_id": item["source"]["source_id"],
            },
        },
    }


def _attacks(tags: list[str]) -> list[dict[str, Any]]:
    """Techniques of ATT&CK with the first tactic that is named."""
    slugs = [tag.removeprefix("attack.").replace("_", "-") for tag in tags if tag.startswith("attack.")]
    tactic = next(
        ({"name": s.replace("-", " ").title(), "uid": _TACTIC_UIDS[s]} for s in slugs if s in _TACTIC_UIDS), {}
    )
    found = []
    for tag in tags:
        if match := _TECHNIQUE.fullmatch(tag):
            uid = match[1].upper()
            sub = f"{uid}.{match[2]}" if match[2] else ""
            technique = {"uid": uid, "name": _TECHNIQUES.get(uid, uid)}
            found.append({"tactic": tactic, "technique": technique, "sub_technique": {"uid": sub, "name": sub}})
    return found or ([{"tactic": tactic}] if tactic else [])


def _ms(micros: int) -> int:
    return micros // 1000


_KEPT_AT_ZERO = {"time", "activity_id", "partition", "offset"}


def _full(value: dict[str, Any]) -> dict[str, Any]:
    """The map without what is empty; a time of 0 is a time that is not known."""
    out = {}
    for key, item in value.items():
        kept = _full(item) if isinstance(item, dict) else item
        if isinstance(item, list):
            kept = [_full(x) if isinstance(x, dict) else x for x in item]
            kept = [x for x in kept if x not in ({}, "")]
        if kept not in ({}, [], "", None) and (kept != 0 or kept is False or key in _KEPT_AT_ZERO):
            out[key] = kept
    return out
