# SPDX-License-Identifier: Apache-2.0
"""Command lines of MetalLB 0.14 to 0.16 start these programs, too; anything else is a usage error."""
from __future__ import annotations

import pytest

from test.lab.lab import Lab

LAB = {"nodes": 1}
PROGRAMS = REVIVE = False

CONTROLLER = {
    "0.14.3, chart": ["--port=7472", "--log-level=info", "--cert-service-name=metallb-webhook-service",
                      "--tls-min-version=VersionTLS12"],
    "0.14.5, manifest": ["--port=7472", "--log-level=info", "--tls-min-version=VersionTLS12"],
    "0.16.1, chart": ["--port=9120", "--log-level=info", "--lb-class=metallb", "--webhook-mode=disabled",
                      "--tls-min-version=VersionTLS12",
                      "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "--tls-curve-preferences=29,23"],
    "one dash, and the rest": ["-port", "0", "-log-level", "debug", "-namespace=metallb-system", "-ml-secret-name=",
                               "-deployment=controller", "-pprof-bind-address=", "-health-probe-port=17472",
                               "-disable-cert-rotation", "-cert-dir=/tmp", "-webhook-secret=metallb-webhook-cert",
                               "-webhook-http2=false", "-metrics-cert-dir=", "-enable-pprof=true"],
}
SPEAKER = {
    "0.14.3, chart": ["--port=7472", "--log-level=info"],
    "0.16.1, chart": ["--port=9120", "--log-level=info", "--lb-class=metallb", "--ml-wan-config",
                      "--ignore-exclude-lb", "--bgp-debounce-timeout=100ms", "--frrk8s-namespace=metallb-system",
                      "--tls-min-version=VersionTLS13"],
    "one dash, and the rest": ["-port=0", "-log-level=all", "-namespace=metallb-system", "-host=10.4.0.11",
                               "-ml-bindaddr=10.4.0.11", "-ml-bindport=7946", "-ml-labels=app=metallb",
                               "-ml-secret-key-path=/etc/ml_secret_key", "-node-name=node1",
                               "-pprof-bind-address=", "-health-probe-port=17472", "-metrics-cert-dir=",
                               "-enable-pprof=false", "-enable-l2-service-status=true"],
}
BGP = ["--bgp-debounce-timeout=100ms", "--frrk8s-namespace=frr"]


@pytest.fixture(params=[("controller", k) for k in CONTROLLER] + [("speaker", k) for k in SPEAKER],
                ids=lambda p: " ".join(p))
def line(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    program, key = request.param
    return program, (CONTROLLER if program == "controller" else SPEAKER)[key]


def prepared(lab: Lab, program: str):  # type: ignore[no-untyped-def]
    if not lab.controller:
        lab.prepare_programs()
    return lab.controller if program == "controller" else lab.speakers["node1"]


def test_a_known_command_line_starts(lab: Lab, line: tuple[str, list[str]]) -> None:
    p = prepared(lab, line[0])
    p.start(args=line[1])
    lab.wait_for(f"{p.name} is ready", lambda: lab.program_ready(p))
    assert p.stop() == 0


def test_what_bgp_wants_is_said_to_do_nothing_once(lab: Lab) -> None:
    p = prepared(lab, "speaker")
    p.start(args=BGP, env={"METALLB_BGP_TYPE": "frr"})
    lab.wait_for("it is ready", lambda: lab.program_ready(p))
    for word in ("bgp-debounce-timeout", "frrk8s-namespace"):
        said = [x for x in p.lines(level="warn") if word in str(x)]
        assert len(said) == 1, p.lines(level="warn")
    p.stop()


@pytest.mark.parametrize("program", ["controller", "speaker"])
@pytest.mark.parametrize("args", [["--no-such-flag"], ["--port=many"], ["--port"], ["---port=1"]],
                         ids=lambda a: a[0])
def test_anything_else_is_a_usage_error(lab: Lab, program: str, args: list[str]) -> None:
    r = lab.box.run([str(lab.build / program), *args], check=False)
    assert r.returncode == 2
    assert "-log-level" in r.stdout + r.stderr, "the usage text names the flags"


@pytest.mark.parametrize("program", ["controller", "speaker"])
def test_help_is_no_error_in_words(lab: Lab, program: str) -> None:
    r = lab.box.run([str(lab.build / program), "--help"], check=False)
    assert r.returncode in (0, 2) and "-log-level" in r.stdout + r.stderr
