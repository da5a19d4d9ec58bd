/* Frames: every message there and back, every byte of a header broken, and the wire written out by
 * hand, so that it cannot change unseen. */
#include "bytes.h"
#include "frame.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 200u

/* ---- facts of spec/protocol.md, written again ---- */

typedef struct fact {
    const char *name;
    bool worker, trainer; /* who may send it */
    uint32_t fields, tail_max;
} fact;

static const fact facts[WEFT_MESSAGE_TYPE_END] = {
    [WEFT_MESSAGE_HELLO] = {"HELLO", true, false, 38, 400},
    [WEFT_MESSAGE_START] = {"START", false, true, 62, 400},
    [WEFT_MESSAGE_STARTED] = {"STARTED", true, false, 0, 0},
    [WEFT_MESSAGE_UPDATE] = {"UPDATE", false, true, 28, 0},
    [WEFT_MESSAGE_DOCUMENT] = {"DOCUMENT", false, true, 12, 65536},
    [WEFT_MESSAGE_READY] = {"READY", true, false, 4, 0},
    [WEFT_MESSAGE_PAYLOAD] = {"PAYLOAD", false, true, 12, 65536},
    [WEFT_MESSAGE_STAGED] = {"STAGED", true, false, 12, 0},
    [WEFT_MESSAGE_APPLY] = {"APPLY", false, true, 0, 0},
    [WEFT_MESSAGE_APPLIED] = {"APPLIED", true, false, 8, 0},
    [WEFT_MESSAGE_COMMIT] = {"COMMIT", false, true, 0, 0},
    [WEFT_MESSAGE_COMMITTED] = {"COMMITTED", true, false, 16, 0},
    [WEFT_MESSAGE_ABORT] = {"ABORT", false, true, 20, 0},
    [WEFT_MESSAGE_ABORTED] = {"ABORTED", true, false, 17, 0},
    [WEFT_MESSAGE_FAILED] = {"FAILED", true, false, 23, 400},
    [WEFT_MESSAGE_PING] = {"PING", true, true, 0, 0},
    [WEFT_MESSAGE_PONG] = {"PONG", true, true, 0, 0},
    [WEFT_MESSAGE_PEERS] = {"PEERS", false, true, 8, 65536},
    [WEFT_MESSAGE_ASK] = {"ASK", false, true, 20, 0},
    [WEFT_MESSAGE_OUTCOME] = {"OUTCOME", true, false, 1, 0},
};

/* Which fields a message has, as a copy of it with all others zero. */
static weft_message only_own_fields(const weft_message *from)
{
    weft_message to = {.type = from->type, .epoch = from->epoch, .tail = from->tail};

    switch ((weft_message_type)from->type) {
    case WEFT_MESSAGE_HELLO:
        to.protocol = from->protocol;
        to.condition = from->condition;
        to.outcome = from->outcome;
        to.fingerprint = from->fingerprint;
        to.version = from->version;
        to.digest = from->digest;
        to.last_epoch = from->last_epoch;
        break;
    case WEFT_MESSAGE_START:
        to.kind = from->kind;
        to.transport = from->transport;
        to.base_version = from->base_version;
        to.base_digest = from->base_digest;
        to.target_version = from->target_version;
        to.target_digest = from->target_digest;
        to.updates = from->updates;
        to.timeout_ms = from->timeout_ms;
        to.group = from->group;
        to.rank = from->rank;
        to.ranks = from->ranks;
        to.peers_bytes = from->peers_bytes;
        break;
    case WEFT_MESSAGE_PEERS:
        to.offset = from->offset;
        break;
    case WEFT_MESSAGE_ASK:
        to.target_version = from->target_version;
        to.target_digest = from->target_digest;
        to.rank = from->rank;
        break;
    case WEFT_MESSAGE_OUTCOME:
        to.outcome = from->outcome;
        break;
    case WEFT_MESSAGE_UPDATE:
        to.update = from->update;
        to.document_bytes = from->document_bytes;
        to.payload_bytes = from->payload_bytes;
        to.payload_digest = from->payload_digest;
        break;
    case WEFT_MESSAGE_DOCUMENT:
    case WEFT_MESSAGE_PAYLOAD:
        to.update = from->update;
        to.offset = from->offset;
        break;
    case WEFT_MESSAGE_READY:
        to.update = from->update;
        break;
    case WEFT_MESSAGE_STAGED:
        to.update = from->update;
        to.changed = from->changed;
        break;
    case WEFT_MESSAGE_APPLIED:
        to.digest = from->digest;
        break;
    case WEFT_MESSAGE_COMMITTED:
        to.version = from->version;
        to.digest = from->digest;
        break;
    case WEFT_MESSAGE_ABORT:
        to.code = from->code;
        to.target_version = from->target_version;
        to.target_digest = from->target_digest;
        break;
    case WEFT_MESSAGE_ABORTED:
        to.condition = from->condition;
        to.version = from->version;
        to.digest = from->digest;
        break;
    case WEFT_MESSAGE_FAILED:
        to.code = from->code;
        to.state = from->state;
        to.condition = from->condition;
        to.outcome = from->outcome;
        to.version = from->version;
        to.digest = from->digest;
        break;
    case WEFT_MESSAGE_STARTED:
    case WEFT_MESSAGE_APPLY:
    case WEFT_MESSAGE_COMMIT:
    case WEFT_MESSAGE_PING:
    case WEFT_MESSAGE_PONG:
        break;
    }
    return to;
}

static void assert_same_message(const weft_message *a, const weft_message *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->tail, b->tail);
    assert_int_equal(a->fingerprint, b->fingerprint);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->digest, b->digest);
    assert_int_equal(a->last_epoch, b->last_epoch);
    assert_int_equal(a->base_version, b->base_version);
    assert_int_equal(a->base_digest, b->base_digest);
    assert_int_equal(a->target_version, b->target_version);
    assert_int_equal(a->target_digest, b->target_digest);
    assert_int_equal(a->document_bytes, b->document_bytes);
    assert_int_equal(a->payload_bytes, b->payload_bytes);
    assert_int_equal(a->payload_digest, b->payload_digest);
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->changed, b->changed);
    assert_int_equal(a->protocol, b->protocol);
    assert_int_equal(a->updates, b->updates);
    assert_int_equal(a->update, b->update);
    assert_int_equal(a->code, b->code);
    assert_int_equal(a->timeout_ms, b->timeout_ms);
    assert_int_equal(a->condition, b->condition);
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->transport, b->transport);
    assert_int_equal(a->group, b->group);
    assert_int_equal(a->rank, b->rank);
    assert_int_equal(a->ranks, b->ranks);
    assert_int_equal(a->peers_bytes, b->peers_bytes);
}

static weft_message random_message(test_random *random, uint8_t type)
{
    weft_message message;

    test_random_fill(random, &message, sizeof message);
    message.epoch &= WEFT_EPOCH_MAX;
    message.type = type;
    message.tail = (uint32_t)test_random_below(random, (uint64_t)facts[type].tail_max + 1);
    return message;
}

static weft_sender sender_of(uint8_t type)
{
    return facts[type].worker ? WEFT_SENDER_WORKER : WEFT_SENDER_TRAINER;
}

/* ---- tests ---- */

static void test_facts(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        fact is = type < WEFT_MESSAGE_TYPE_END ? facts[type] : (fact){0};
        assert_string_equal(weft_message_name((uint8_t)type), is.name != NULL ? is.name : "?");
        assert_int_equal(weft_message_known((uint8_t)type), is.name != NULL);
        assert_int_equal(weft_message_from_worker((uint8_t)type), is.worker);
        assert_int_equal(weft_message_from_trainer((uint8_t)type), is.trainer);
        assert_int_equal(weft_message_fields_bytes((uint8_t)type), is.fields);
        assert_int_equal(weft_message_tail_max((uint8_t)type), is.tail_max);
        assert_true(is.fields <= WEFT_FRAME_FIELDS_MAX);
    }
}

static void test_round_trip(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (uint8_t type = 1; type < WEFT_MESSAGE_TYPE_END; type++) {
        for (unsigned round = 0; round < ROUNDS; round++) {
            weft_message message = random_message(&random, type);
            weft_message expected = only_own_fields(&message);
            weft_message decoded;
            uint32_t fields = 99;
            uint32_t length = WEFT_FRAME_HEADER_BYTES + facts[type].fields;
            uint8_t *head = malloc(WEFT_FRAME_HEAD_MAX);

            assert_non_null(head);
            memset(head, 0xa5, WEFT_FRAME_HEAD_MAX);
            assert_int_equal(weft_frame_encode_head(&message, head), length);
            for (uint32_t i = length; i < WEFT_FRAME_HEAD_MAX; i++) {
                assert_int_equal(head[i], 0xa5); /* nothing behind what it said */
            }
            assert_int_equal(weft_frame_decode_header(head, sender_of(type), &decoded, &fields),
                             WEFT_OK);
            assert_int_equal(fields, facts[type].fields);
            assert_int_equal(decoded.epoch, message.epoch);
            assert_int_equal(decoded.update, 0);
            weft_message_get_fields(&decoded, head + WEFT_FRAME_HEADER_BYTES);
            assert_same_message(&decoded, &expected);
            free(head);
        }
    }
}

static void test_only_its_sender(void **state)
{
    (void)state;
    for (uint8_t type = 1; type < WEFT_MESSAGE_TYPE_END; type++) {
        weft_message message = {.type = type}, decoded;
        uint8_t head[WEFT_FRAME_HEAD_MAX];
        uint32_t fields;

        weft_frame_encode_head(&message, head);
        assert_int_equal(weft_frame_decode_header(head, WEFT_SENDER_WORKER, &decoded, &fields),
                         facts[type].worker ? WEFT_OK : WEFT_E_FRAME_MALFORMED);
        assert_int_equal(weft_frame_decode_header(head, WEFT_SENDER_TRAINER, &decoded, &fields),
                         facts[type].trainer ? WEFT_OK : WEFT_E_FRAME_MALFORMED);
    }
}

/* What a header with this one byte changed must give. */
static weft_status broken_header_status(const uint8_t *head, unsigned at, weft_sender sender)
{
    uint8_t type = head[4];
    uint32_t body = weft_get32(head + 8), tail = weft_get32(head + 12);

    if (at < 4) {
        return WEFT_E_FRAME_MALFORMED;
    }
    if (at == 5) {
        return WEFT_E_PROTOCOL_VERSION;
    }
    if (at >= 16) { /* another epoch */
        return weft_get64(head + 16) > WEFT_EPOCH_MAX ? WEFT_E_FRAME_MALFORMED : WEFT_OK;
    }
    bool may = type < WEFT_MESSAGE_TYPE_END &&
               (sender == WEFT_SENDER_WORKER ? facts[type].worker : facts[type].trainer);
    bool fits = may && head[6] == 0 && head[7] == 0 && tail <= facts[type].tail_max &&
                body == facts[type].fields + tail;
    return fits ? WEFT_OK : WEFT_E_FRAME_MALFORMED;
}

static void test_every_byte_of_a_header_broken(void **state)
{
    test_random random = test_random_start();
    unsigned accepted = 0, refused = 0;

    (void)state;
    for (uint8_t type = 1; type < WEFT_MESSAGE_TYPE_END; type++) {
        weft_message message = random_message(&random, type);
        uint8_t head[WEFT_FRAME_HEAD_MAX];

        weft_frame_encode_head(&message, head);
        for (unsigned at = 0; at < WEFT_FRAME_HEADER_BYTES; at++) {
            uint8_t right = head[at];
            for (unsigned change = 1; change < 256; change++) {
                weft_message decoded = {.update = 77};
                uint32_t fields = 77;
                head[at] = (uint8_t)(right ^ change);
                weft_status expected = broken_header_status(head, at, sender_of(type));
                weft_status status =
                    weft_frame_decode_header(head, sender_of(type), &decoded, &fields);
                assert_int_equal(status, expected);
                assert_int_equal(decoded.update, status == WEFT_OK ? 0 : 77);
                assert_int_equal(fields, status == WEFT_OK ? facts[head[4]].fields : 77);
                accepted += status == WEFT_OK ? 1 : 0;
                refused += status == WEFT_OK ? 0 : 1;
            }
            head[at] = right;
        }
    }
    assert_true(accepted >= 17 * (7 * 255 + 127)); /* epochs, and a few types of equal form */
    assert_true(refused > 17 * 15 * 255);
}

static void test_lengths(void **state)
{
    (void)state;
    for (uint8_t type = 1; type < WEFT_MESSAGE_TYPE_END; type++) {
        const uint32_t most = facts[type].tail_max, own = facts[type].fields;
        const struct {
            uint32_t body, tail;
            weft_status status;
        } cases[] = {
            {own, 0, WEFT_OK},
            {own + most, most, WEFT_OK},
            {own + most + 1, most + 1, WEFT_E_FRAME_MALFORMED},
            {own + 1, 0, WEFT_E_FRAME_MALFORMED},
            {own - 1, 0, WEFT_E_FRAME_MALFORMED},
            {own - 1, UINT32_MAX, WEFT_E_FRAME_MALFORMED}, /* their sum wraps to the right one */
            {UINT32_MAX, UINT32_MAX - own, WEFT_E_FRAME_MALFORMED},
            {own + most, most + 1, WEFT_E_FRAME_MALFORMED},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            weft_message message = {.type = type}, decoded;
            uint8_t head[WEFT_FRAME_HEAD_MAX];
            uint32_t fields;
            weft_frame_encode_head(&message, head);
            weft_put32(head + 8, cases[i].body);
            weft_put32(head + 12, cases[i].tail);
            assert_int_equal(weft_frame_decode_header(head, sender_of(type), &decoded, &fields),
                             cases[i].status);
        }
    }
}

/* A version of the protocol that is not ours may give every other number another meaning; only the
 * magic comes before it. */
static void test_the_version_is_looked_at_before_the_rest(void **state)
{
    weft_message message = {.type = WEFT_MESSAGE_STARTED}, decoded;
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    uint32_t fields;

    (void)state;
    weft_frame_encode_head(&message, head);
    head[4] = 200;
    head[5] = 2;
    head[7] = 1;
    assert_int_equal(weft_frame_decode_header(head, WEFT_SENDER_WORKER, &decoded, &fields),
                     WEFT_E_PROTOCOL_VERSION);
    head[0] = 'w';
    assert_int_equal(weft_frame_decode_header(head, WEFT_SENDER_WORKER, &decoded, &fields),
                     WEFT_E_FRAME_MALFORMED);
}

/* Written by hand from spec/protocol.md. */
static const uint8_t GOLDEN_START[] = {
    'W',  'E',  'F',  'T',                          /*  0 magic */
    2,                                              /*  4 type: START */
    1,                                              /*  5 version */
    0,    0,                                        /*  6 reserved */
    62,   0,    0,    0,                            /*  8 body */
    0,    0,    0,    0,                            /* 12 tail */
    8,    7,    6,    5,    4,    3,    2,    1,    /* 16 epoch */
    1,                                              /* 24 kind: sparse */
    1,                                              /* 25 transport: tcp */
    0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, /* 26 base_version */
    0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, /* 34 base_digest */
    0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, /* 42 target_version */
    0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0xf1, /* 50 target_digest */
    0x54, 0x53, 0x52, 0x51,                         /* 58 updates */
    0x64, 0x63, 0x62, 0x61,                         /* 62 timeout_ms */
    0x78, 0x77, 0x76, 0x75, 0x74, 0x73, 0x72, 0x71, /* 66 group */
    0x84, 0x83, 0x82, 0x81,                         /* 74 rank */
    0x94, 0x93, 0x92, 0x91,                         /* 78 ranks */
    0xa4, 0xa3, 0xa2, 0xa1,                         /* 82 peers_bytes */
};

static void test_golden_start(void **state)
{
    const weft_message message = {.type = WEFT_MESSAGE_START,
                                  .epoch = UINT64_C(0x0102030405060708),
                                  .kind = WEFT_SPARSE,
                                  .transport = 1,
                                  .base_version = UINT64_C(0x1112131415161718),
                                  .base_digest = UINT64_C(0x2122232425262728),
                                  .target_version = UINT64_C(0x3132333435363738),
                                  .target_digest = UINT64_C(0xf142434445464748),
                                  .updates = 0x51525354,
                                  .timeout_ms = 0x61626364,
                                  .group = UINT64_C(0x7172737475767778),
                                  .rank = 0x81828384,
                                  .ranks = 0x91929394,
                                  .peers_bytes = 0xa1a2a3a4};
    weft_message decoded;
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    uint32_t fields = 0;

    (void)state;
    assert_int_equal(weft_frame_encode_head(&message, head), sizeof GOLDEN_START);
    assert_memory_equal(head, GOLDEN_START, sizeof GOLDEN_START);
    assert_int_equal(weft_frame_decode_header(GOLDEN_START, WEFT_SENDER_TRAINER, &decoded, &fields),
                     WEFT_OK);
    assert_int_equal(fields, 62);
    weft_message_get_fields(&decoded, GOLDEN_START + WEFT_FRAME_HEADER_BYTES);
    assert_same_message(&decoded, &message);
}

/* FAILED: the one with a signed number and small fields between large ones. */
static const uint8_t GOLDEN_FAILED[] = {
    'W',  'E',  'F',  'T',  15,   1,    0,    0,    /* 0 */
    26,   0,    0,    0,    3,    0,    0,    0,    /* 8 body: 23 of fields and 3 of tail */
    9,    0,    0,    0,    0,    0,    0,    0,    /* 16 epoch */
    0xd3, 0xfe, 0xff, 0xff,                         /* 24 code: -301 */
    2,    1,    3,                                  /* 28 state, condition, outcome */
    5,    0,    0,    0,    0,    0,    0,    0,    /* 31 version */
    0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88, /* 39 digest */
};

static void test_golden_failed(void **state)
{
    const weft_message message = {.type = WEFT_MESSAGE_FAILED,
                                  .epoch = 9,
                                  .tail = 3,
                                  .code = WEFT_E_BASE_MISMATCH,
                                  .state = WEFT_RECEIVING,
                                  .condition = WEFT_TORN,
                                  .outcome = WEFT_OUTCOME_UNCONFIRMED,
                                  .version = 5,
                                  .digest = UINT64_C(0x8899aabbccddeeff)};
    weft_message decoded;
    uint8_t head[WEFT_FRAME_HEAD_MAX];
    uint32_t fields = 0;

    (void)state;
    assert_int_equal(weft_frame_encode_head(&message, head), sizeof GOLDEN_FAILED);
    assert_memory_equal(head, GOLDEN_FAILED, sizeof GOLDEN_FAILED);
    assert_int_equal(weft_frame_decode_header(GOLDEN_FAILED, WEFT_SENDER_WORKER, &decoded, &fields),
                     WEFT_OK);
    weft_message_get_fields(&decoded, GOLDEN_FAILED + WEFT_FRAME_HEADER_BYTES);
    assert_same_message(&decoded, &message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_only_its_sender),
        cmocka_unit_test(test_every_byte_of_a_header_broken),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_the_version_is_looked_at_before_the_rest),
        cmocka_unit_test(test_golden_start),
        cmocka_unit_test(test_golden_failed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
