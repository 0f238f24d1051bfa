# SPDX-License-Identifier: Apache-2.0
"""MetalLB's own roles, only the image swapped: no patch of services/status, and several reads that we would like."""
from __future__ import annotations

from typing import Any

from test.lab.lab import NAMESPACE, Lab

PROGRAMS = False
READ = ["get", "list", "watch"]
ALL = ["create", "delete", *READ, "patch", "update"]


def rule(group: str, resources: list[str], verbs: list[str], *names: str) -> dict[str, Any]:
    found: dict[str, Any] = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return {**found, "resourceNames": list(names)} if names else found


# What the plain manifests of MetalLB 0.16 grant, as far as it concerns layer 2.
CONTROLLER = [
    rule("", ["services", "namespaces"], READ), rule("", ["nodes"], ["list"]),
    rule("", ["services/status"], ["update"]), rule("", ["events"], ["create", "patch"]),
    rule("metallb.io", ["configurationstates"], ALL),
    rule("metallb.io", ["configurationstates/status"], ["get", "patch", "update"])]
SPEAKER = [
    rule("", ["services", "endpoints", "nodes", "namespaces"], READ),
    rule("discovery.k8s.io", ["endpointslices"], READ), rule("", ["events"], ["create", "patch"]),
    rule("metallb.io", ["servicel2statuses", "servicel2statuses/status", "configurationstates",
                        "configurationstates/status"], ["*"])]
CONTROLLER_NS = [
    rule("", ["secrets"], ALL), rule("", ["secrets"], ["list"], "memberlist"),
    rule("apps", ["deployments"], ["get"], "controller"), rule("metallb.io", ["bgppeers"], ["get", "list"]),
    rule("metallb.io", ["bfdprofiles", "ipaddresspools", "bgpadvertisements", "l2advertisements", "communities"], READ),
    rule("metallb.io", ["ipaddresspools/status"], ["update"])]
POD_LISTER = [
    rule("", ["pods"], ["list", "get"]), rule("", ["secrets", "configmaps"], READ),
    rule("metallb.io", ["bfdprofiles", "bgppeers", "l2advertisements", "bgpadvertisements", "ipaddresspools",
                        "communities"], READ),
    rule("metallb.io", ["servicebgpstatuses", "servicebgpstatuses/status"], ["*"])]


def grant_what_metallb_grants(lab: Lab) -> None:
    """Replaces our roles by MetalLB's."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for kind in ("clusterroles", "clusterrolebindings", f"namespaces/{NAMESPACE}/roles",
                 f"namespaces/{NAMESPACE}/rolebindings"):
        for o in lab.api.items(f"{rbac}/{kind}", labels="app=metallb"):
            lab.api.delete(f"{rbac}/{kind}/{o['metadata']['name']}")

    def bind(kind: str, where: str, name: str, rules: list[dict[str, Any]], *accounts: str) -> None:
        lab.api.create(f"{rbac}/{where}{kind.lower()}s", {"metadata": {"name": name}, "rules": rules})
        lab.api.create(f"{rbac}/{where}{kind.lower()}bindings", {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": a, "namespace": NAMESPACE} for a in accounts]})

    bind("ClusterRole", "", "metallb-system:controller", CONTROLLER, "controller")
    bind("ClusterRole", "", "metallb-system:speaker", SPEAKER, "speaker")
    bind("Role", f"namespaces/{NAMESPACE}/", "controller", CONTROLLER_NS, "controller")
    bind("Role", f"namespaces/{NAMESPACE}/", "pod-lister", POD_LISTER, "controller", "speaker")


def test_it_works_with_metallbs_own_roles(lab: Lab, block: str) -> None:
    grant_what_metallb_grants(lab)
    lab.start_programs()
    lab.pool("pool", block)
    lab.advertisement("all")
    since = lab.audit.mark()
    names = ["a", "b", "c", "d"]
    for name in names:
        lab.service(name, lab.web)
    for name in names:
        lab.client.wait_owner(lab.wait_address(name), tails=lab.tails)
    lab.wait_for("the pool's counters", lambda: lab.pool_status("pool").get("assignedIPv4") == 4)
    lab.delete_service("a")
    lab.wait_for("the pool's counters", lambda: lab.pool_status("pool").get("assignedIPv4") == 3)
    for name in names[1:]:
        service = lab.api.get(f"/api/v1/namespaces/default/services/{name}")
        assert service["metadata"]["annotations"]["metallb.io/ip-allocated-from-pool"] == "pool"

    written = [e for e in lab.audit.writes(since, user="controller", resource="services/status") if e.code == 200]
    assert sorted((e.verb, e.name) for e in written) == [("update", n) for n in names]
    refused = [e for e in lab.audit.entries(user=lambda u: u in ("controller", "speaker")) if e.code == 403]
    assert len([e for e in refused if e.resource == "services/status"]) <= len(names)
    assert len(refused) < 60, "what is refused is not asked for again and again"


def test_one_warning_says_so(lab: Lab) -> None:
    assert lab.controller
    warnings = [line for line in lab.controller.lines(level="warn", resource="services")
                if "patch" in line["msg"]]
    assert len(warnings) == 1, lab.controller.lines(level="warn")
