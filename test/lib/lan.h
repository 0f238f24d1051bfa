/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* lan - a LAN for one test: two network namespaces of its own, "here" (where the code under test opens its sockets) and
 * "there" (another host), which vanish with the process. Needs root: without it lan_new() fails the test. */
#include <sys/types.h>

#include "common/base.h"

/* Fails the test where it is not allowed; else true. */
bool lan_new(void);
/* Runs ip(8) here or there; fails the test when that fails. "THERE" in the text stands for the other namespace, as in
 * "link add a0 type veth peer name b0 netns THERE". */
void lan_ip(const char *fmt, ...) PRINTF_LIKE(1, 2);
void lan_ip_there(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* a0 here (02:00:00:00:00:0a) and b0 there (02:00:00:00:00:0b), up; no IPv6 autoconfiguration, so that the wire is quiet. */
void lan_veth(const char *here, const char *there, unsigned n);
/* A raw socket on an interface there, or here; it sees everything that arrives. Non-blocking. */
int lan_socket(const char *interface, bool there);
void lan_send(int fd, const void *frame, size_t len);
/* The next frame, or 0 when there is none now. */
size_t lan_receive(int fd, uint8_t frame[static 2048]);
/* "net/ipv6/conf/a0/...". A file that is not there is nothing to set. */
void lan_sysctl(bool there, const char *path, const char *value);
int lan_udp6(bool there); /* a datagram socket, non-blocking */
