/* SPDX-License-Identifier: Apache-2.0 */
#include "test/lib/lan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/lib/unit.h"

static int here = -1, there = -1;

static void enter(int ns)
{
        ck_assert_int_eq(setns(ns, CLONE_NEWNET), 0);
}

bool lan_new(void)
{
        bool made = unshare(CLONE_NEWNET) == 0;

        there = made ? open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC) : -1;
        made = there >= 0 && unshare(CLONE_NEWNET) == 0;
        here = made ? open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC) : -1;
        /* Not a quiet return: a test that checked nothing must not look green. */
        ck_assert_msg(here >= 0, "no LAN of network namespaces, which takes root: %s", strerror(errno));
        return true;
}

static void run_ip(int ns, char *text)
{
        char *argv[48] = { strdup("ip") }, *rest = text;
        char there_path[64];
        unsigned n = 1;
        pid_t pid;
        int status;

        (void)snprintf(there_path, sizeof(there_path), "/proc/%d/fd/%d", (int)getpid(), there);
        for (char *word; (word = strsep(&rest, " "));) {
                ck_assert_uint_lt(n, ARRAY_LEN(argv) - 1);
                argv[n++] = strcmp(word, "THERE") == 0 ? there_path : word;
        }
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                if (setns(ns, CLONE_NEWNET) == 0)
                        (void)execvp("ip", argv);
                _exit(127);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ip %s ...: status %d", argv[1], status);
        free(argv[0]);
}

static void PRINTF_LIKE(2, 0) run_text(int ns, const char *fmt, va_list ap)
{
        char text[512];

        ck_assert_int_lt(vsnprintf(text, sizeof(text), fmt, ap), (int)sizeof(text));
        run_ip(ns, text);
}

void lan_ip(const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        run_text(here, fmt, ap);
        va_end(ap);
}

void lan_ip_there(const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        run_text(there, fmt, ap);
        va_end(ap);
}

void lan_sysctl(bool is_there, const char *path, const char *value)
{
        char file[256];
        int fd;

        (void)snprintf(file, sizeof(file), "/proc/sys/%s", path);
        enter(is_there ? there : here);
        fd = open(file, O_WRONLY | O_CLOEXEC);
        enter(here);
        if (fd < 0 && errno == ENOENT)
                return; /* no such protocol in this kernel: nothing to turn off */
        ck_assert_msg(fd >= 0, "%s: %s", file, strerror(errno));
        ck_assert_int_eq(write(fd, value, strlen(value)), (ssize_t)strlen(value));
        (void)close(fd);
}

static void quiet(bool is_there, const char *interface)
{
        char path[128];

        (void)snprintf(path, sizeof(path), "net/ipv6/conf/%s/accept_dad", interface);
        lan_sysctl(is_there, path, "0");
        (void)snprintf(path, sizeof(path), "net/ipv6/conf/%s/router_solicitations", interface);
        lan_sysctl(is_there, path, "0");
}

void lan_veth(const char *name, const char *peer, unsigned n)
{
        lan_ip("link add %s address 02:00:00:00:%02x:0a type veth peer name %s address 02:00:00:00:%02x:0b netns THERE",
                name, n, peer, n);
        quiet(false, name);
        quiet(true, peer);
        lan_ip("link set %s up", name);
        lan_ip_there("link set %s up", peer);
}

int lan_socket(const char *interface, bool is_there)
{
        struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
        int fd;

        enter(is_there ? there : here);
        fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        ck_assert_int_ge(fd, 0);
        at.sll_ifindex = (int)if_nametoindex(interface);
        ck_assert_int_ne(at.sll_ifindex, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
        enter(here);
        return fd;
}

void lan_send(int fd, const void *frame, size_t len)
{
        ck_assert_int_eq(send(fd, frame, len, 0), (ssize_t)len);
}

size_t lan_receive(int fd, uint8_t frame[static 2048])
{
        struct sockaddr_ll from;
        socklen_t len = sizeof(from);
        ssize_t n;

        do {
                n = recvfrom(fd, frame, 2048, 0, (struct sockaddr *)&from, &len);
        } while (n >= 0 && from.sll_pkttype == PACKET_OUTGOING); /* our own */
        return n < 0 ? 0 : (size_t)n;
}

int lan_udp6(bool is_there)
{
        int fd;

        enter(is_there ? there : here);
        fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        enter(here);
        ck_assert_int_ge(fd, 0);
        return fd;
}
