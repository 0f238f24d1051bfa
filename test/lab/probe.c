/* SPDX-License-Identifier: Apache-2.0 */
/* probe - asks a LAN who answers for an address, from a raw socket, and prints what it heard as one JSON object.
 *
 *   probe ratio IF COUNT A B       one question at a time, A and B in turn: answer times of both
 *   probe watch IF MS EVERY ADDR.. asks for every address each EVERY ms (pieces of ms allowed) for MS ms: who
 *                                  answered when, silences, and questions that two MACs answered
 *   probe load  IF MS RATE ADDR..  asks RATE times a second in turn: how many questions were answered
 *
 * ADDR is IPv4 (ARP, RFC 826) or IPv6 (neighbour solicitation, RFC 4861). It shares no code with the product: it is
 * the independent observer of the lab's tests and benches. IF must have an address of the family. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ADDRS_MAX  2048
#define EVENTS_MAX 256
#define MACS_MAX   4

struct addr {
        bool v6;
        uint8_t b[16];
        char text[INET6_ADDRSTRLEN];
};

struct target {
        struct addr addr;
        uint64_t asked, answered, doubled; /* questions; with an answer; with answers of two MACs */
        uint64_t asked_at, first_at, last_at; /* ns; this question, first and last answer at all */
        uint64_t longest, longest_at; /* ns; longest time without an answer, and its start */
        bool got; /* this question has an answer */
        uint8_t got_mac[6];
        uint64_t double_first, double_last;
        struct {
                uint64_t at;
                uint8_t mac[6];
                bool unsolicited;
        } events[EVENTS_MAX]; /* the answering MAC changed, or announced itself */
        size_t n_events;
        uint8_t now_mac[6];
        uint64_t unsolicited;
};

static int fd, ifindex;
static uint8_t my_mac[6], my4[4], my6[16];
static struct target *targets;
static size_t n_targets;
static uint64_t begun;

static uint64_t now_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
        fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
        exit(1);
}

static struct addr addr_parse(const char *text)
{
        struct addr a = { 0 };

        (void)snprintf(a.text, sizeof(a.text), "%s", text);
        a.v6 = strchr(text, ':') != NULL;
        if (inet_pton(a.v6 ? AF_INET6 : AF_INET, text, a.b) != 1) {
                fprintf(stderr, "probe: '%s' is no address\n", text);
                exit(2);
        }
        return a;
}

static void open_link(const char *name)
{
        struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
        struct ifreq ifr = { 0 };
        struct ifaddrs *all;
        int big = 4 << 20;

        fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        if (fd < 0)
                die("socket");
        (void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
        if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
                die(name);
        memcpy(my_mac, ifr.ifr_hwaddr.sa_data, 6);
        ifindex = (int)if_nametoindex(name);
        ll.sll_ifindex = ifindex;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
        if (bind(fd, (struct sockaddr *)&ll, sizeof(ll)) < 0)
                die("bind");
        if (getifaddrs(&all) < 0)
                die("getifaddrs");
        for (struct ifaddrs *a = all; a; a = a->ifa_next) {
                if (!a->ifa_addr || strcmp(a->ifa_name, name) != 0)
                        continue;
                if (a->ifa_addr->sa_family == AF_INET)
                        memcpy(my4, &((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr, 4);
                if (a->ifa_addr->sa_family == AF_INET6) {
                        const uint8_t *b = ((struct sockaddr_in6 *)(void *)a->ifa_addr)->sin6_addr.s6_addr;

                        if (b[0] != 0xfe || my6[0] == 0) /* a global one is better than link-local */
                                memcpy(my6, b, 16);
                }
        }
        freeifaddrs(all);
}

static uint16_t icmp6_sum(const uint8_t *ip6, const uint8_t *icmp, size_t len)
{
        uint32_t sum = (uint32_t)len + 58;

        for (size_t i = 8; i < 40; i += 2)
                sum += (uint32_t)(ip6[i] << 8 | ip6[i + 1]);
        for (size_t i = 0; i < len; i += 2)
                sum += (uint32_t)(icmp[i] << 8 | (i + 1 < len ? icmp[i + 1] : 0));
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t)~sum;
}

static size_t build(uint8_t *f, const struct addr *a)
{
        uint16_t sum;

        memset(f, 0, 128);
        memcpy(f + 6, my_mac, 6);
        if (!a->v6) {
                static const uint8_t head[] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };

                memset(f, 0xff, 6);
                memcpy(f + 12, head, sizeof(head));
                memcpy(f + 22, my_mac, 6);
                memcpy(f + 28, my4, 4);
                memcpy(f + 38, a->b, 4);
                return 60;
        }
        memcpy(f, (uint8_t[]){ 0x33, 0x33, 0xff, a->b[13], a->b[14], a->b[15] }, 6);
        memcpy(f + 12, (uint8_t[]){ 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255 }, 10);
        memcpy(f + 22, my6, 16);
        memcpy(f + 38,
                (uint8_t[]){ 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a->b[13], a->b[14], a->b[15] }, 16);
        f[54] = 135;
        memcpy(f + 62, a->b, 16);
        f[78] = 1;
        f[79] = 1;
        memcpy(f + 80, my_mac, 6);
        sum = icmp6_sum(f + 14, f + 54, 32);
        f[56] = (uint8_t)(sum >> 8);
        f[57] = (uint8_t)sum;
        return 86;
}

static void ask(struct target *t)
{
        uint8_t f[128];
        size_t len = build(f, &t->addr);

        t->asked++;
        t->got = false;
        t->asked_at = now_ns();
        if (send(fd, f, len, 0) < 0 && errno != ENOBUFS && errno != ENETDOWN)
                die("send");
}

static struct target *find(bool v6, const uint8_t *b)
{
        for (size_t i = 0; i < n_targets; i++)
                if (targets[i].addr.v6 == v6 && memcmp(targets[i].addr.b, b, v6 ? 16 : 4) == 0)
                        return &targets[i];
        return NULL;
}

static void heard(struct target *t, const uint8_t *mac, bool unsolicited, uint64_t at)
{
        if (memcmp(t->now_mac, mac, 6) != 0 || unsolicited) {
                if (t->n_events < EVENTS_MAX) {
                        t->events[t->n_events].at = at;
                        t->events[t->n_events].unsolicited = unsolicited;
                        memcpy(t->events[t->n_events++].mac, mac, 6);
                }
                memcpy(t->now_mac, mac, 6);
        }
        if (unsolicited) {
                t->unsolicited++;
                return;
        }
        if (at - (t->last_at ? t->last_at : begun) > t->longest) {
                t->longest_at = t->last_at ? t->last_at : begun;
                t->longest = at - t->longest_at;
        }
        if (!t->first_at)
                t->first_at = at;
        t->last_at = at;
        if (!t->got) {
                t->got = true;
                t->answered++;
                memcpy(t->got_mac, mac, 6);
        } else if (memcmp(t->got_mac, mac, 6) != 0) {
                t->doubled++;
                if (!t->double_first)
                        t->double_first = at;
                t->double_last = at;
        }
}

/* Reads one frame if there is one before @until; true for an answer to @only (NULL: any). */
static bool hear(uint64_t until, const struct target *only)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        struct sockaddr_ll from;
        socklen_t from_len = sizeof(from);
        uint64_t now = now_ns();
        struct timespec wait = { 0 };
        uint8_t f[2048];
        struct target *t = NULL;
        bool unsolicited = false;
        const uint8_t *mac = NULL;
        ssize_t n;

        if (now < until) {
                wait.tv_sec = (time_t)((until - now) / 1000000000u);
                wait.tv_nsec = (long)((until - now) % 1000000000u);
        }
        if (ppoll(&p, 1, &wait, NULL) <= 0)
                return false;
        n = recvfrom(fd, f, sizeof(f), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
        if (n < 42 || from.sll_pkttype == PACKET_OUTGOING)
                return false;
        now = now_ns();
        if (f[12] == 8 && f[13] == 6 && memcmp(f + 28, my4, 4) != 0) {
                bool to_me = f[21] == 2 && memcmp(f + 38, my4, 4) == 0 && memcmp(f, my_mac, 6) == 0;

                t = find(false, f + 28);
                mac = f + 22;
                unsolicited = !to_me;
        } else if (f[12] == 0x86 && f[13] == 0xdd && n >= 86 && f[20] == 58 && f[54] == 136) {
                t = find(true, f + 62);
                mac = f + 80;
                unsolicited = !(f[58] & 0x40);
        }
        if (!t)
                return false;
        heard(t, mac, unsolicited, now);
        return !unsolicited && (!only || t == only);
}

static void print_mac(const uint8_t *m)
{
        printf("\"%02x:%02x:%02x:%02x:%02x:%02x\"", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static double ms(uint64_t ns)
{
        return (double)ns / 1e6;
}

static void print_targets(void)
{
        printf("{\"targets\": [");
        for (size_t i = 0; i < n_targets; i++) {
                struct target *t = &targets[i];

                printf("%s\n  {\"address\": \"%s\", \"asked\": %lu, \"answered\": %lu, \"doubled\": %lu, "
                       "\"double_ms\": %.3f, \"first_ms\": %.3f, \"last_ms\": %.3f, \"longest_silence_ms\": %.3f, "
                       "\"longest_silence_at_ms\": %.3f, \"unsolicited\": %lu, \"events\": [",
                        i ? "," : "", t->addr.text, t->asked, t->answered, t->doubled,
                        ms(t->double_last - t->double_first), t->first_at ? ms(t->first_at - begun) : -1.0,
                        t->last_at ? ms(t->last_at - begun) : -1.0, ms(t->longest),
                        t->longest_at ? ms(t->longest_at - begun) : 0.0, t->unsolicited);
                for (size_t e = 0; e < t->n_events; e++) {
                        printf("%s{\"ms\": %.3f, \"unsolicited\": %s, \"mac\": ", e ? ", " : "",
                                ms(t->events[e].at - begun), t->events[e].unsolicited ? "true" : "false");
                        print_mac(t->events[e].mac);
                        printf("}");
                }
                printf("]}");
        }
        printf("]}\n");
}

static int cmp_u64(const void *a, const void *b)
{
        const uint64_t *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

static int ratio(unsigned count)
{
        uint64_t *took[2] = { calloc(count, sizeof(uint64_t)), calloc(count, sizeof(uint64_t)) };
        unsigned n[2] = { 0 }, lost[2] = { 0 };

        if (!took[0] || !took[1])
                die("memory");
        for (unsigned i = 0; i < count * 2; i++) {
                struct target *t = &targets[i % 2];
                uint64_t until;

                ask(t);
                until = t->asked_at + 200000000u;
                while (!t->got && now_ns() < until)
                        (void)hear(until, t);
                if (t->got)
                        took[i % 2][n[i % 2]++] = t->last_at - t->asked_at;
                else
                        lost[i % 2]++;
                (void)usleep(300); /* each answer starts from rest */
        }
        printf("{");
        for (int k = 0; k < 2; k++) {
                qsort(took[k], n[k], sizeof(uint64_t), cmp_u64);
                printf("%s\"%s\": {\"answered\": %u, \"lost\": %u, \"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f}",
                        k ? ", " : "", k ? "b" : "a", n[k], lost[k],
                        n[k] ? (double)took[k][n[k] / 2] / 1e3 : -1,
                        n[k] ? (double)took[k][n[k] * 9 / 10] / 1e3 : -1,
                        n[k] ? (double)took[k][n[k] * 99 / 100] / 1e3 : -1);
                free(took[k]);
        }
        printf("}\n");
        return 0;
}

static int watch(double total_ms, double every_ms)
{
        uint64_t end = begun + (uint64_t)(total_ms * 1e6), step = (uint64_t)(every_ms * 1e6), due = begun;

        while (now_ns() < end) {
                if (now_ns() >= due) {
                        for (size_t i = 0; i < n_targets; i++)
                                ask(&targets[i]);
                        due = now_ns() + step;
                }
                (void)hear(due < end ? due : end, NULL);
        }
        for (size_t i = 0; i < n_targets; i++) { /* a silence that lasts to the end counts too */
                struct target *t = &targets[i];
                uint64_t from = t->last_at ? t->last_at : begun;

                if (now_ns() - from > t->longest) {
                        t->longest = now_ns() - from;
                        t->longest_at = from;
                }
        }
        print_targets();
        return 0;
}

static int load(double total_ms, double rate)
{
        uint64_t end = begun + (uint64_t)(total_ms * 1e6), gap = (uint64_t)(1e9 / rate), due = begun;
        uint64_t asked = 0, answered = 0, silent = 0;
        size_t next = 0;

        while (now_ns() < end) {
                if (now_ns() >= due) {
                        ask(&targets[next]);
                        next = (next + 1) % n_targets;
                        due += gap; /* a late turn is made up for: the rate is the asked one */
                        asked++;
                }
                while (hear(0, NULL))
                        ;
                if (now_ns() + 200000u < due)
                        (void)hear(due, NULL);
        }
        end = now_ns() + 500000000u;
        while (now_ns() < end)
                (void)hear(end, NULL);
        for (size_t i = 0; i < n_targets; i++) {
                answered += targets[i].answered;
                silent += targets[i].answered == 0;
        }
        printf("{\"asked\": %lu, \"answered\": %lu, \"silent_addresses\": %lu}\n", asked, answered, silent);
        return 0;
}

int main(int argc, char **argv)
{
        if (argc < 5) {
                fprintf(stderr,
                        "usage: probe ratio IF COUNT A B | watch IF MS EVERY_MS ADDR... | "
                        "load IF MS RATE ADDR...\n");
                return 2;
        }
        open_link(argv[2]);
        targets = calloc(ADDRS_MAX, sizeof(*targets));
        if (!targets)
                die("memory");
        for (int i = strcmp(argv[1], "ratio") == 0 ? 4 : 5; i < argc && n_targets < ADDRS_MAX; i++)
                targets[n_targets++].addr = addr_parse(argv[i]);
        if (n_targets == 0)
                return 2;
        begun = now_ns();
        if (strcmp(argv[1], "ratio") == 0 && n_targets == 2)
                return ratio((unsigned)strtoul(argv[3], NULL, 10));
        if (strcmp(argv[1], "watch") == 0)
                return watch(strtod(argv[3], NULL), strtod(argv[4], NULL));
        if (strcmp(argv[1], "load") == 0)
                return load(strtod(argv[3], NULL), strtod(argv[4], NULL));
        return 2;
}
