/* Workers and a trainer that are connected over real sockets of 127.0.0.1, in one thread. Each has
 * a net of its own, so that a test can leave one of them without attention, as a process that hangs
 * would. */
#ifndef WEFT_TESTS_NET_FIXTURE_H
#define WEFT_TESTS_NET_FIXTURE_H

#include "frame_messages.h"
#include "net.h"
#include "support.h"

#define NET_WORKERS_MAX 3u

struct net_fixture;

typedef struct net_member {
    struct net_fixture *fixture;
    weft_worker *worker;
    test_model *model;
    weft_net *net; /* NULL: its process is gone, so to say */
    char address[32];
    bool ignored; /* its net is not polled */
    uint32_t sent[WEFT_MESSAGE_TYPE_END];
    uint64_t payload_seen; /* end of the last PAYLOAD frame that began to arrive */
} net_member;

typedef struct net_fixture {
    test_random random;
    uint32_t count;
    net_member members[NET_WORKERS_MAX];
    test_model *current;
    weft_trainer *trainer;
    weft_net *net;
    weft_trainer_config config;
    size_t heap_at_ready; /* when the last worker had reserved its staging */
} net_fixture;

/* Takes `content` over; NULL: some random model. */
net_fixture *net_start(uint32_t count, test_model *content, uint32_t timeout_ms,
                       uint32_t keepalive_ms);
void net_stop(net_fixture *fixture);
/* Another trainer, from fixture->config, in the place of the first one. */
void net_restart_trainer(net_fixture *fixture);
/* One more life for this member, with this content. */
void net_member_start(net_fixture *fixture, net_member *member, const test_model *content,
                      uint32_t keepalive_ms);
/* Listens on the port that it had before, or on any. */
void net_member_listen(net_member *member);
/* One tensor of so many bytes. */
test_model *net_big_model(test_random *random, size_t bytes);
/* Bytes that malloc has given out in this process. */
size_t net_heap_bytes(void);

/* Everybody who is not ignored is polled once. */
void net_turn(net_fixture *fixture);
/* When a loop has taken too long. */
uint64_t net_patience(void);
uint32_t net_workers(const net_fixture *fixture); /* that a push would reach */
bool net_idle(const net_member *member);

/* These take turns until it is so. */
void net_until_workers(net_fixture *fixture, uint32_t count);
void net_until_sent(net_fixture *fixture, const net_member *member, weft_message_type type,
                    uint32_t times);
weft_status net_until_pushed(net_fixture *fixture, weft_push *push);
/* Everybody is idle, or gets there, and holds exactly this. */
void net_check_all(net_fixture *fixture, const test_model *content, uint64_t version);
void net_change_and_push(net_fixture *fixture, weft_kind kind, uint64_t version);

/* A socket that no library knows, connected to a worker. */
int net_dial_raw(const net_member *member);
/* Reads to the end of the stream, and returns how many bytes there were. */
size_t net_read_all(net_fixture *fixture, int stranger);

#endif
