/* Which texts are addresses, and that the driver says so of those that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net.h"
#include "support.h"

static void test_valid(void **state)
{
    static const struct {
        const char *text, *host, *port;
        uint16_t number;
        bool numeric;
    } CASES[] = {
        {"127.0.0.1:7070", "127.0.0.1", "7070", 7070, true},
        {"[::1]:65535", "::1", "65535", 65535, true},
        {"localhost:1", "localhost", "1", 1, false},
        {"[fe80::1%lo]:0", "fe80::1%lo", "0", 0, true},
        {"a-b.example.org:00080", "a-b.example.org", "00080", 80, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        weft_address address;
        weft_address_list list = {.count = 0};
        assert_int_equal(weft_address_parse(&address, CASES[i].text), WEFT_OK);
        assert_string_equal(address.text, CASES[i].text);
        assert_string_equal(address.host, CASES[i].host);
        assert_string_equal(address.port, CASES[i].port);
        assert_int_equal(address.number, CASES[i].number);
        assert_int_equal(weft_address_is_numeric(&address, &list), CASES[i].numeric);
        assert_int_equal(list.count, CASES[i].numeric ? 1 : 0);
    }
}

static void test_numbers_become_socket_addresses(void **state)
{
    weft_address address;
    weft_address_list list;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    (void)state;
    assert_int_equal(weft_address_parse(&address, "10.0.0.7:258"), WEFT_OK);
    assert_true(weft_address_is_numeric(&address, &list));
    memcpy(&v4, &list.found[0], sizeof v4);
    assert_int_equal(v4.sin_family, AF_INET);
    assert_int_equal(v4.sin_port, htons(258));
    assert_int_equal(v4.sin_addr.s_addr, htonl(0x0a000007));
    assert_int_equal(weft_address_parse(&address, "[::1]:258"), WEFT_OK);
    assert_true(weft_address_is_numeric(&address, &list));
    memcpy(&v6, &list.found[0], sizeof v6);
    assert_int_equal(v6.sin6_family, AF_INET6);
    assert_int_equal(v6.sin6_port, htons(258));
    assert_memory_equal(&v6.sin6_addr, &in6addr_loopback, sizeof in6addr_loopback);
}

/* What a resolver found is taken in its order, and cut where there is no more room. */
static void test_found_addresses_are_taken(void **state)
{
    struct sockaddr_in names[WEFT_ADDRESS_FOUND_MAX + 2];
    struct addrinfo found[WEFT_ADDRESS_FOUND_MAX + 2];
    weft_address_list list = {.count = 3};
    (void)state;
    for (size_t i = 0; i < WEFT_ADDRESS_FOUND_MAX + 2; i++) {
        bool last = i == WEFT_ADDRESS_FOUND_MAX + 1;
        names[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)i)};
        found[i] = (struct addrinfo){.ai_addr = (struct sockaddr *)&names[i],
                                     .ai_addrlen = sizeof names[i],
                                     .ai_next = last ? NULL : &found[i + 1]};
    }
    found[1].ai_addrlen = sizeof list.found[0] + 1; /* of a family that this library cannot hold */
    weft_address_take(&list, found);
    assert_int_equal(list.count, WEFT_ADDRESS_FOUND_MAX);
    for (size_t i = 0; i < WEFT_ADDRESS_FOUND_MAX; i++) {
        memcpy(&names[0], &list.found[i], sizeof names[0]);
        assert_int_equal(names[0].sin_port, htons((uint16_t)(i == 0 ? 0 : i + 1)));
    }
    weft_address_take(&list, NULL);
    assert_int_equal(list.count, 0);
}

static void test_invalid(void **state)
{
    static const char *const CASES[] = {
        "",        "7070",    ":7070",    "host",       "host:",       "host:x",
        "host:+1", "host: 1", "host:-1",  "host:65536", "host:123456", "::1:7070",
        "[::1]",   "[]:1",    "[host]:1", "[::1:1",     "::1]:1",      "ho st:1",
    };
    test_random random = test_random_start();
    test_model *model = test_model_create(&random, 2);
    weft_worker_config worker_config = WEFT_WORKER_CONFIG_INIT;
    weft_trainer_config trainer_config = WEFT_TRAINER_CONFIG_INIT;
    weft_worker *worker = NULL;
    weft_trainer *trainer = NULL;
    weft_net *net = NULL;
    char longest[400];
    (void)state;
    memset(longest, 'a', sizeof longest);
    memcpy(longest + sizeof longest - 3, ":1", 3);
    worker_config.model = trainer_config.model = model->model;
    assert_int_equal(weft_worker_create(&worker, &worker_config), WEFT_OK);
    assert_int_equal(weft_trainer_create(&trainer, &trainer_config), WEFT_OK);
    assert_int_equal(weft_net_create(&net), WEFT_OK);
    assert_string_equal(weft_net_text(net), "");
    for (size_t i = 0; i <= sizeof CASES / sizeof CASES[0]; i++) {
        const char *text = i == sizeof CASES / sizeof CASES[0] ? longest : CASES[i];
        assert_int_equal(weft_net_connect(net, trainer, text), WEFT_E_ADDRESS);
        assert_int_equal(weft_net_listen(net, worker, text, NULL), WEFT_E_ADDRESS);
        assert_non_null(strstr(weft_net_text(net), "host:port"));
    }
    assert_int_equal(weft_net_connect(net, trainer, "127.0.0.1:0"), WEFT_E_ADDRESS);
    assert_non_null(strstr(weft_net_text(net), "port 0"));
    weft_net_destroy(net);
    weft_trainer_destroy(trainer);
    weft_worker_destroy(worker);
    test_model_destroy(model);
}

static weft_status parse_long(size_t host, const char *port, weft_address *address)
{
    char hosts[WEFT_HOST_BYTES], text[WEFT_HOST_BYTES + 8];
    memset(hosts, 'h', sizeof hosts);
    (void)snprintf(text, sizeof text, "%.*s:%s", (int)host, hosts, port);
    return weft_address_parse(address, text);
}

static void test_longest_host(void **state)
{
    weft_address address;
    (void)state;
    assert_int_equal(parse_long(WEFT_HOST_BYTES - 1, "65535", &address), WEFT_OK);
    assert_int_equal(strlen(address.host), WEFT_HOST_BYTES - 1);
    assert_int_equal(strlen(address.text), WEFT_HOST_BYTES - 1 + 6);
    assert_int_equal(parse_long(WEFT_HOST_BYTES, "1", &address), WEFT_E_ADDRESS);
    assert_int_equal(parse_long(WEFT_HOST_BYTES, "65535", &address), WEFT_E_ADDRESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_numbers_become_socket_addresses),
        cmocka_unit_test(test_found_addresses_are_taken),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_longest_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
