/* Addresses: "host:port" and "[ipv6]:port", and what they mean to the system. */
#include <string.h>

#include "net.h"

/* Decimal digits only: no sign, no space, at most 65535. */
static bool parse_port(weft_address *address, const char *text)
{
    size_t length = strlen(text);
    uint32_t number = 0;
    if (length == 0 || length >= sizeof address->port) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    if (number > UINT16_MAX) {
        return false;
    }
    memcpy(address->port, text, length + 1);
    address->number = (uint16_t)number;
    return true;
}

static bool parse_host(weft_address *address, const char *text, size_t length)
{
    bool brackets = length >= 2 && text[0] == '[' && text[length - 1] == ']';
    if (brackets) {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= sizeof address->host) {
        return false;
    }
    memcpy(address->host, text, length);
    address->host[length] = '\0';
    bool colon = strchr(address->host, ':') != NULL; /* "::1:7070" could mean two things */
    bool stray = strpbrk(address->host, "[] \t\r\n") != NULL;
    return colon == brackets && !stray;
}

weft_status weft_address_parse(weft_address *address, const char *text)
{
    weft_address parsed = {.number = 0};
    const char *colon = strrchr(text, ':');
    size_t length = strlen(text);
    if (colon == NULL || length >= sizeof parsed.text ||
        !parse_host(&parsed, text, (size_t)(colon - text)) || !parse_port(&parsed, colon + 1)) {
        return WEFT_E_ADDRESS;
    }
    memcpy(parsed.text, text, length + 1);
    *address = parsed;
    return WEFT_OK;
}

bool weft_address_is_numeric(const weft_address *address, weft_address_list *list)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (uv_ip4_addr(address->host, address->number, &v4) == 0) {
        memcpy(&list->found[0], &v4, sizeof v4);
    } else if (uv_ip6_addr(address->host, address->number, &v6) == 0) {
        memcpy(&list->found[0], &v6, sizeof v6);
    } else {
        return false;
    }
    list->count = 1;
    return true;
}

void weft_address_take(weft_address_list *list, const struct addrinfo *found)
{
    list->count = 0;
    for (; found != NULL && list->count < WEFT_ADDRESS_FOUND_MAX; found = found->ai_next) {
        if (found->ai_addrlen <= sizeof list->found[0]) {
            memcpy(&list->found[list->count++], found->ai_addr, found->ai_addrlen);
        }
    }
}

struct addrinfo weft_address_hints(void)
{
    return (struct addrinfo){.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
}
