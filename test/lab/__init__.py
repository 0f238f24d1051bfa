# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes cluster on one machine, for tests and the demo: real etcd, kube-apiserver and kube-proxy, nodes as
network namespaces on a bridge, and a client that knows nothing but ARP, NDP, TCP and UDP.

    with Lab() as lab:                      # about five seconds
        lab.kubectl("get", "nodes")
        lab.start_programs()

See lab.py for what a test can ask for, box.py for why nothing of it outlives the run.
"""
