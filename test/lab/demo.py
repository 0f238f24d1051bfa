# SPDX-License-Identifier: Apache-2.0
"""`make demo`: the whole way of a Service, from <pending> to an answer on the wire and back, told as it happens.

Nothing is acted: a real API server, real nodes with a real kube-proxy (each a network namespace), the two programs of
this project as manifests/ installs them, and a client that knows nothing of Kubernetes.
"""
from __future__ import annotations

import argparse
import json
import sys
import time

from test.lab import network, root
from test.lab.box import PREFIX, BoxError, end_run, init_of, runs_folder
from test.lab.lab import NAMESPACE, Lab

POOL = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: primary
  namespace: metallb-system
spec:
  addresses:
    - "10.4.11.0 - 10.4.15.254"
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata:
  name: primary
  namespace: metallb-system
spec:
  ipAddressPools:
    - primary
"""


class Story:
    """Prints what happens, with the time since the beginning."""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    def say(self, text: str) -> None:
        first, *rest = text.split("\n")
        print(f"{time.monotonic() - self.begun:5.1f} s  {first}")
        for line in rest:
            print(f"         {line}")
        sys.stdout.flush()

    def show(self, command: str, output: str, limit: int = 12) -> None:
        print(f"           $ {command}")
        for line in output.rstrip().split("\n")[:limit]:
            print(f"           {line}")
        sys.stdout.flush()

    def heading(self, text: str) -> None:
        print(f"\n         {text}\n")


def took(begun: float) -> str:
    seconds = time.monotonic() - begun
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def kubectl(story: Story, lab: Lab, *args: str) -> None:
    story.show("kubectl " + " ".join(args), lab.kubectl(*args))


def begin(story: Story, lab: Lab) -> None:
    names = ", ".join(n.name for n in lab.nodes)
    story.say(f"The control plane is up (etcd, kube-apiserver), with {names}, and a kube-proxy on each.\n"
              f"Each node is a network namespace on one bridge; beside them is a client, {network.CLIENT.ip},\n"
              "that knows nothing of Kubernetes. manifests/ is installed with kubectl.")
    begun = time.monotonic()
    lab.start_programs()
    story.say(f"The controller and one speaker on each node run and are ready, after {took(begun)}.")


def pending(story: Story, lab: Lab) -> None:
    story.heading("1. A Service of type LoadBalancer wants an address, and there is none to give")
    lab.service("web", [lab.pod(f"web-{n}", n) for n in (1, 2, 3)])
    story.say("Three web servers, one on each node, and a Service before them:")
    kubectl(story, lab, "get", "service", "web")


def allocated(story: Story, lab: Lab) -> str:
    story.heading("2. A pool of addresses, and leave to announce them")
    print("\n".join("           " + line for line in POOL.rstrip().split("\n")))
    begun = time.monotonic()
    out = lab.apply(POOL)
    story.show("kubectl apply -f pool.yaml", out)
    ip = lab.wait_address("web")
    story.say(f"The Service has an address: {ip}, {took(begun)} after the apply began.")
    kubectl(story, lab, "get", "service", "web")
    lab.wait_for("the Service has an event", lambda: lab.events("web"))
    kubectl(story, lab, "get", "events", "--field-selector", "involvedObject.name=web")
    lab.wait_for("the pool's status counts the address", lambda: lab.pool_status("primary").get("assignedIPv4") == 1)
    story.say("The pool holds 1,279 addresses; one is in use now:")
    kubectl(story, lab, "get", "ipaddresspools", "-n", NAMESPACE)
    return ip


def announced(story: Story, lab: Lab, ip: str) -> None:
    story.heading("3. The client asks its network: who has that address?")
    mac = lab.client.wait_owner(ip, tails=lab.tails)
    node = lab.node_of_mac(mac)
    story.show(f"arping -c 2 -I eth0 {ip}        (on the client)", lab.client.arping(ip, 2))
    story.say(f"One host answers, and only one: {mac}, which is {node.name}. Its speaker's log says so:")
    speaker = lab.speakers[node.name]
    line = lab.wait_for(f"{speaker.name} logs what it announces",
                        lambda: speaker.lines(msg=lambda m: "announcing" in m, ips=lambda i: ip in i))[-1]
    story.show(f"grep announcing logs/{speaker.name}.log", json.dumps(line))


def used(story: Story, lab: Lab, ip: str) -> None:
    story.heading("4. And now it is used")
    lab.wait_for("curl reaches a pod", lambda: lab.client.tcp(ip))
    answers = [lab.client.curl(ip) for _ in range(3)]
    story.show(f"curl http://{ip}/        (on the client, three times)", "".join(a or "no answer\n" for a in answers))
    story.say("The announcing node's kube-proxy spreads the connections over the pods of all nodes.")


def deleted(story: Story, lab: Lab, ip: str) -> None:
    story.heading("5. The Service goes")
    begun = time.monotonic()
    story.show("kubectl delete service web", lab.kubectl("delete", "service", "web"))
    lab.client.wait_silence(ip, tails=lab.tails)
    silent = took(begun)
    lab.delete_slices("web")  # in a whole cluster, kube-controller-manager does that
    lab.wait_for("the pool has the address back", lambda: lab.pool_status("primary").get("assignedIPv4") == 0)
    story.say(f"{silent} after the command was given, nobody answers for {ip} any more, and it is free again:")
    story.show(f"arping -c 2 -I eth0 {ip}        (on the client)", lab.client.arping(ip, 2))
    kubectl(story, lab, "get", "ipaddresspools", "-n", NAMESPACE)


def keep(story: Story, lab: Lab) -> None:
    lab.service("web", lab.pods)
    ip = lab.wait_address("web")
    words = lab.keep()
    story.heading("The cluster stays up, with the Service web back in it")
    print(words.replace("ADDRESS", ip))


def tell(stay: bool) -> None:
    story = Story()
    story.say("A real Kubernetes control plane, three nodes and a client come up on this machine ...")
    lab = Lab()
    try:
        begin(story, lab)
        pending(story, lab)
        ip = allocated(story, lab)
        announced(story, lab, ip)
        used(story, lab, ip)
        deleted(story, lab, ip)
        if stay:
            keep(story, lab)
            return
    except BaseException:
        lab.close()
        raise
    begun = time.monotonic()
    lab.close()
    print()
    story.say(f"All of it is gone again ({took(begun)}). `make demo KEEP=1` leaves it up to play with.")


def end(run_id: str) -> int:
    run_dir = runs_folder() / (PREFIX + run_id)
    if not run_id.isalnum() or not run_dir.is_dir():
        living = [p.name.removeprefix(PREFIX) for p in runs_folder().glob(PREFIX + "*") if init_of(p)]
        print(f"demo: there is no run {run_id}" + (f"; there is {' '.join(living)}" if living else ""), file=sys.stderr)
        return 1
    end_run(run_dir)
    print(f"Run {run_id} has ended; nothing of it is left.")
    return 0


def main() -> int:
    ap = argparse.ArgumentParser(prog="demo", description="The main job on real parts, told step by step.")
    ap.add_argument("--keep", action="store_true", help="leave the cluster up, and say how to use and how to end it")
    ap.add_argument("--end", metavar="RUN", help="end a cluster that --keep left up")
    a = ap.parse_args()
    if a.end:
        return end(a.end)
    root.ensure("test.lab.demo")
    try:
        tell(a.keep)
    except (AssertionError, RuntimeError, BoxError) as e:
        print(f"\ndemo: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; nothing is left of it", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
