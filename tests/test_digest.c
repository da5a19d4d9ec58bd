/* The digests against their definition, and planted faults: how many go unseen (none may). */
#include "digest.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FAULTS   1000000u
#define ELEMENTS 4096u
#define SEED     UINT64_C(0x1234)

static const uint8_t widths[] = {1, 2, 4, 8};

/* ---- the definition, written again ---- */

static uint64_t slow_fold(uint64_t bits)
{
    uint64_t half = bits ^ (bits >> 32);

    return half ^ (half >> 16);
}

static uint64_t slow_key(uint64_t seed, uint64_t index)
{
    uint64_t x = seed + index / 8 * UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return ((x ^ (x >> 31)) | 1) * WEFT_DIGEST_FACTORS[index % 8];
}

static uint64_t slow_elements(const void *elements, uint64_t first, uint64_t count, uint8_t bytes,
                              uint64_t seed)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < count; i++) {
        sum += slow_key(seed, first + i) * slow_fold(test_bits_get(elements, i, bytes));
    }
    return sum;
}

static void test_elements_are_the_definition(void **state)
{
    test_random random = test_random_start();
    uint8_t *bytes = malloc(3000);

    (void)state;
    assert_non_null(bytes);
    for (unsigned round = 0; round < 4000; round++) {
        uint8_t width = widths[round % 4];
        uint64_t count = test_random_below(&random, 300);
        uint64_t first = test_random_next(&random) >> test_random_below(&random, 64);
        uint64_t seed = test_random_next(&random);
        size_t offset = (size_t)test_random_below(&random, 8);

        test_random_fill(&random, bytes + offset, (size_t)count * width);
        assert_int_equal(weft_digest_elements(bytes + offset, first, count, width, seed),
                         slow_elements(bytes + offset, first, count, width, seed));
    }
    free(bytes);
}

/* What was announced by one build must be what another computes: these numbers never change. */
static void test_known_values(void **state)
{
    const uint8_t bytes[24] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255, 0, 128};
    const weft_tensor tensor = {
        .name = "model.norm.weight", .dtype = WEFT_BF16, .rank = 2, .shape = {3, 4}};

    (void)state;
    assert_int_equal(weft_digest_elements(bytes, 0, 24, 1, SEED), UINT64_C(0xd206b3668505b20d));
    assert_int_equal(weft_digest_elements(bytes, 0, 12, 2, SEED), UINT64_C(0xd5865e6b49e659b9));
    assert_int_equal(weft_digest_elements(bytes, 0, 6, 4, SEED), UINT64_C(0xf805a4ef427ac387));
    assert_int_equal(weft_digest_elements(bytes, 0, 3, 8, SEED), UINT64_C(0xae436bb823fd2bf3));
    assert_int_equal(weft_digest_payload(bytes, 19, 0), UINT64_C(0xdc37da7896002797));
    assert_int_equal(weft_digest_bytes("weft", 4, 0), UINT64_C(0x6ae65afecbe8478d));
    assert_int_equal(weft_digest_tensor_seed(&tensor), UINT64_C(0x3870398ee51a3868));
}

static void test_no_width_no_digest(void **state)
{
    const uint8_t bytes[16] = {1, 2, 3};

    (void)state;
    assert_int_equal(weft_digest_elements(bytes, 0, 2, 0, SEED), 0);
    assert_int_equal(weft_digest_elements(bytes, 0, 2, 3, SEED), 0);
    assert_int_equal(weft_digest_elements(bytes, 0, 0, 2, SEED), 0);
}

static void test_shards_add_up(void **state)
{
    test_random random = test_random_start();
    uint8_t bytes[8 * 500];

    (void)state;
    test_random_fill(&random, bytes, sizeof bytes);
    for (unsigned round = 0; round < 1000; round++) {
        uint8_t width = widths[round % 4];
        uint64_t a = test_random_below(&random, 501);
        uint64_t b = a + test_random_below(&random, 501 - a);
        uint64_t sum = weft_digest_elements(bytes, 0, a, width, SEED) +
                       weft_digest_elements(bytes + a * width, a, b - a, width, SEED) +
                       weft_digest_elements(bytes + b * width, b, 500 - b, width, SEED);
        assert_int_equal(sum, weft_digest_elements(bytes, 0, 500, width, SEED));
    }
}

static void test_payload_pieces_add_up(void **state)
{
    test_random random = test_random_start();
    uint8_t bytes[1003];

    (void)state;
    test_random_fill(&random, bytes, sizeof bytes);
    for (size_t length = 0; length <= sizeof bytes; length++) {
        uint8_t padded[1008] = {0};
        uint64_t whole = weft_digest_payload(bytes, length, 0);
        size_t cut = 8 * (size_t)test_random_below(&random, length / 8 + 1);

        memcpy(padded, bytes, length);
        assert_int_equal(whole, weft_digest_payload(padded, sizeof padded, 0));
        assert_int_equal(whole, weft_digest_payload(bytes, cut, 0) +
                                    weft_digest_payload(bytes + cut, length - cut, cut));
    }
}

static void test_payload_sees_every_bit(void **state)
{
    test_random random = test_random_start();
    uint8_t bytes[131];
    uint64_t whole;

    (void)state;
    test_random_fill(&random, bytes, sizeof bytes);
    whole = weft_digest_payload(bytes, sizeof bytes, 64);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_not_equal(weft_digest_payload(bytes, sizeof bytes, 64), whole);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_not_equal(weft_digest_payload(bytes, sizeof bytes, 72), whole);
}

static void test_seed_depends_on_the_whole_form(void **state)
{
    const weft_tensor form[] = {
        {.name = "a", .dtype = WEFT_BF16, .rank = 2, .shape = {3, 4}},
        {.name = "b", .dtype = WEFT_BF16, .rank = 2, .shape = {3, 4}},
        {.name = "a", .dtype = WEFT_F16, .rank = 2, .shape = {3, 4}},
        {.name = "a", .dtype = WEFT_BF16, .rank = 2, .shape = {4, 3}},
        {.name = "a", .dtype = WEFT_BF16, .rank = 1, .shape = {12}},
        {.name = "a", .dtype = WEFT_BF16, .rank = 1, .shape = {3, 4}},
        {.name = "a", .dtype = WEFT_BF16, .rank = 3, .shape = {3, 4, 1}},
        {.name = "a", .dtype = WEFT_BF16, .rank = 0},
    };
    const size_t count = sizeof form / sizeof form[0];
    weft_tensor same = form[0];

    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(weft_digest_tensor_seed(&form[i]),
                                 weft_digest_tensor_seed(&form[j]));
        }
    }
    /* Where the data stands, and what stands in sizes past the rank, is no part of the form. */
    same.shape[2] = 7;
    same.data = &same;
    assert_int_equal(weft_digest_tensor_seed(&same), weft_digest_tensor_seed(&form[0]));
    assert_int_not_equal(weft_digest_bytes("a", 1, 0), weft_digest_bytes("a", 1, 1));
}

/* ---- the constants ---- */

static void test_factors(void **state)
{
    unsigned seen = 0;
    unsigned zeros = 0;

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(WEFT_DIGEST_FACTORS[i] % 2, 1);
        seen |= 1u << (WEFT_DIGEST_FACTORS[i] % 16);
    }
    assert_int_equal(seen, 0xaaaa); /* all 8 odd residues modulo 16 */
    for (unsigned number = 0; number < 6561; number++) {
        uint64_t sum = 0;
        unsigned rest = number;
        for (unsigned i = 0; i < 8; i++, rest /= 3) {
            sum += WEFT_DIGEST_FACTORS[i] * (rest % 3 == 2 ? UINT64_MAX : rest % 3);
        }
        zeros += sum % 1024 == 0;
    }
    assert_int_equal(zeros, 1); /* the empty sum */
}

/* ---- planted faults ---- */

/* A tensor, and how the digest changes when one element takes other bits. */
struct plant {
    test_random random;
    uint8_t width;
    uint64_t mask;
    uint64_t elements[ELEMENTS];
};

/* Half of the elements come from a few values, as weights near zero do: hard for a weak digest. */
static void plant_start(struct plant *plant, uint8_t width)
{
    plant->width = width;
    plant->mask = UINT64_MAX >> (64 - 8 * width);
    for (unsigned i = 0; i < ELEMENTS; i++) {
        uint64_t few = test_random_below(&plant->random, 4) << (8 * width - 2);
        plant->elements[i] = (i % 2 == 0 ? test_random_next(&plant->random) : few) & plant->mask;
    }
}

static uint64_t effect(const struct plant *plant, uint64_t index, uint64_t bits)
{
    return weft_digest_term(SEED, index, bits) -
           weft_digest_term(SEED, index, plant->elements[index]);
}

/* Each fault adds to *change what it does to the digest, and says whether it changed anything. */
typedef bool (*fault)(struct plant *plant, uint64_t *change);

static bool one_element(struct plant *plant, uint64_t *change)
{
    uint64_t at = test_random_below(&plant->random, ELEMENTS);
    uint64_t bits = test_random_next(&plant->random) & plant->mask;

    *change += effect(plant, at, bits);
    return bits != plant->elements[at];
}

static bool one_bit(struct plant *plant, uint64_t *change)
{
    uint64_t at = test_random_below(&plant->random, ELEMENTS);
    uint64_t bit = test_random_below(&plant->random, UINT64_C(8) * plant->width);

    *change += effect(plant, at, plant->elements[at] ^ (UINT64_C(1) << bit));
    return true;
}

/* The highest bit is the sign of every float. */
static bool two_signs(struct plant *plant, uint64_t *change)
{
    uint64_t a = test_random_below(&plant->random, ELEMENTS);
    uint64_t b = test_random_below(&plant->random, ELEMENTS);
    uint64_t sign = UINT64_C(1) << (8 * plant->width - 1);

    if (a == b) {
        return false;
    }
    *change += effect(plant, a, plant->elements[a] ^ sign);
    *change += effect(plant, b, plant->elements[b] ^ sign);
    return true;
}

static bool swapped(struct plant *plant, uint64_t *change)
{
    uint64_t a = test_random_below(&plant->random, ELEMENTS);
    /* As often within a group as anywhere. */
    uint64_t b = test_random_below(&plant->random, 2) == 0
                     ? a ^ (1 + test_random_below(&plant->random, 7))
                     : test_random_below(&plant->random, ELEMENTS);

    *change += effect(plant, a, plant->elements[b]) + effect(plant, b, plant->elements[a]);
    return plant->elements[a] != plant->elements[b];
}

/* A run of up to 64 elements stands one place too far; its first element is repeated. */
static bool shifted(struct plant *plant, uint64_t *change)
{
    uint64_t length = 1 + test_random_below(&plant->random, 64);
    uint64_t from = test_random_below(&plant->random, ELEMENTS - length);
    bool differs = false;

    for (uint64_t i = from + 1; i <= from + length; i++) {
        *change += effect(plant, i, plant->elements[i - 1]);
        differs |= plant->elements[i] != plant->elements[i - 1];
    }
    return differs;
}

/* An update of 16 elements is lost but for some, or one of its values is used for all that follow.
 */
static bool lost(struct plant *plant, uint64_t *change)
{
    uint64_t from = test_random_below(&plant->random, ELEMENTS - 16 * 7);
    uint64_t which = 1 + test_random_below(&plant->random, 65535);
    bool differs = false;

    for (uint64_t i = 0; i < 16; i++) {
        uint64_t at = from + 7 * i;
        uint64_t bits = test_random_next(&plant->random) & plant->mask;
        if ((which >> i & 1) != 0) {
            *change += effect(plant, at, bits);
            differs |= bits != plant->elements[at];
        }
    }
    return differs;
}

static bool repeated(struct plant *plant, uint64_t *change)
{
    uint64_t from = test_random_below(&plant->random, ELEMENTS - 1);
    uint64_t length =
        1 + test_random_below(&plant->random, ELEMENTS - from < 32 ? ELEMENTS - from : 32);
    bool differs = false;

    for (uint64_t i = from; i < from + length; i++) {
        *change += effect(plant, i, plant->elements[from]);
        differs |= plant->elements[i] != plant->elements[from];
    }
    return differs;
}

/* One bit position in any set of elements of one group. */
static bool same_bit_in_group(struct plant *plant, uint64_t *change)
{
    uint64_t group = 8 * test_random_below(&plant->random, ELEMENTS / 8);
    uint64_t set = 1 + test_random_below(&plant->random, 255);
    uint64_t bit = UINT64_C(1) << test_random_below(&plant->random, UINT64_C(8) * plant->width);

    for (uint64_t i = 0; i < 8; i++) {
        if ((set >> i & 1) != 0) {
            *change += effect(plant, group + i, plant->elements[group + i] ^ bit);
        }
    }
    return true;
}

static void test_planted_faults_are_seen(void **state)
{
    static const struct {
        const char *name;
        fault plant;
    } faults[] = {{"one element", one_element}, {"one bit", one_bit},
                  {"two signs", two_signs},     {"swapped", swapped},
                  {"shifted", shifted},         {"lost", lost},
                  {"repeated", repeated},       {"same bit in a group", same_bit_in_group}};
    static struct plant plant;

    (void)state;
    plant.random = test_random_start();
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        unsigned planted = 0;
        unsigned missed = 0;
        for (unsigned i = 0; i < FAULTS; i++) {
            uint64_t change = 0;
            bool differs;
            if (i % (FAULTS / 4) == 0) {
                plant_start(&plant, widths[i / (FAULTS / 4)]);
            }
            differs = faults[f].plant(&plant, &change);
            planted += differs;
            missed += differs && change == 0;
        }
        print_message("%-20s %8u planted, %u missed\n", faults[f].name, planted, missed);
        assert_true(planted > FAULTS / 2);
        assert_int_equal(missed, 0);
    }
}

/* Every bit of every element, through the whole digest and not through its difference. */
static void test_every_single_bit_is_seen(void **state)
{
    test_random random = test_random_start();
    uint8_t bytes[8 * 40];

    (void)state;
    test_random_fill(&random, bytes, sizeof bytes);
    for (unsigned w = 0; w < 4; w++) {
        uint64_t whole = weft_digest_elements(bytes, 3, 40, widths[w], SEED);
        for (size_t bit = 0; bit < (size_t)320 * widths[w]; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            assert_int_not_equal(weft_digest_elements(bytes, 3, 40, widths[w], SEED), whole);
            bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
    }
}

/* Why fold is there: without it this pair of faults is never seen. */
static void test_without_fold_two_signs_cancel(void **state)
{
    test_random random = test_random_start();

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t a = test_random_next(&random);
        uint64_t b = a + 1 + test_random_below(&random, 1000);
        uint64_t sign = UINT64_C(1) << 63;
        assert_int_equal((weft_digest_key(SEED, a) + weft_digest_key(SEED, b)) * sign, 0);
        assert_int_not_equal(weft_digest_term(SEED, a, sign) + weft_digest_term(SEED, b, sign), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elements_are_the_definition),
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_no_width_no_digest),
        cmocka_unit_test(test_shards_add_up),
        cmocka_unit_test(test_payload_pieces_add_up),
        cmocka_unit_test(test_payload_sees_every_bit),
        cmocka_unit_test(test_seed_depends_on_the_whole_form),
        cmocka_unit_test(test_factors),
        cmocka_unit_test(test_planted_faults_are_seen),
        cmocka_unit_test(test_every_single_bit_is_seen),
        cmocka_unit_test(test_without_fold_two_signs_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
