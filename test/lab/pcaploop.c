/* SPDX-License-Identifier: Apache-2.0 */
/* pcaploop - the least a program can do with libpcap: answers ARP for one address on one interface. The bench measures
 * the speaker against it. Shares no code with the product.
 *
 *   pcaploop IF ADDRESS */
#include <arpa/inet.h>
#include <net/if.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static pcap_t *handle;
static unsigned char mac[6], mine[4];

static void on_frame(u_char *ctx, const struct pcap_pkthdr *h, const u_char *f)
{
        unsigned char r[60] = { 0 };

        (void)ctx;
        if (h->caplen < 42 || f[20] != 0 || f[21] != 1 || memcmp(f + 38, mine, 4) != 0)
                return;
        memcpy(r, f + 22, 6);
        memcpy(r + 6, mac, 6);
        memcpy(r + 12, f + 12, 8);
        r[21] = 2;
        memcpy(r + 22, mac, 6);
        memcpy(r + 28, mine, 4);
        memcpy(r + 32, f + 22, 10);
        (void)pcap_inject(handle, r, sizeof(r));
}

int main(int argc, char **argv)
{
        char text[PCAP_ERRBUF_SIZE];
        struct bpf_program filter;
        struct ifreq ifr = { 0 };
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (argc != 3 || s < 0 || inet_pton(AF_INET, argv[2], mine) != 1)
                return 2;
        (void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", argv[1]);
        if (ioctl(s, SIOCGIFHWADDR, &ifr) < 0)
                return 1;
        (void)close(s);
        memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
        handle = pcap_create(argv[1], text);
        if (!handle || pcap_set_immediate_mode(handle, 1) != 0 || pcap_set_snaplen(handle, 128) != 0 ||
                pcap_activate(handle) < 0 || pcap_compile(handle, &filter, "arp", 1, 0) < 0 ||
                pcap_setfilter(handle, &filter) < 0)
                return 1;
        puts("ready");
        (void)fflush(stdout);
        return pcap_loop(handle, -1, on_frame, NULL) < 0;
}
