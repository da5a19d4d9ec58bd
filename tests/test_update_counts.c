/* Documents with counts in place of patches: what follows from them, what is refused and where, and
 * that they say the same as patches. The example model in canonical order:
 *
 *      0  0.weight              i8      5      5  model.head.weight   f16   16
 *      1  model.embed.weight    bf16  128      6  model.mask          bool 100
 *      2  model.empty           i32     0      7  model.norm.weight   f32    8
 *      3  model.experts         f8   2^32      8  model.scale         f64    1
 *      4  model.gr..e           u8      3
 */
#include <inttypes.h>
#include <stdio.h>

#include "../fuzz/example_model.h"
#include "support.h"
#include "update_support.h"

#define DIGEST "\"digest\": \"0x0123456789abcdef\""
#define SESSION                                                                                    \
    "\"weft\": 1, \"epoch\": 12, \"update\": 0, \"updates\": 1, \"target\": {\"version\": "        \
    "4, " DIGEST "}"
#define SPARSE    SESSION ", \"kind\": \"sparse\", \"base\": {\"version\": 3, " DIGEST "}"
#define BYTES_MAX 16384

static weft_model *example;

/* `rest` is the second line and what follows; the first %s in it becomes the model's fingerprint.
 * In memory of exactly the document's length and its NUL. */
static char *document_of(const char *session, uint64_t payload_bytes, const char *rest)
{
    static char text[BYTES_MAX];
    const char *mark = strstr(rest, "%s");
    int used = snprintf(text, sizeof text, "{%s, \"payload\": {\"bytes\": %" PRIu64 "},\n", session,
                        payload_bytes);

    if (mark == NULL) {
        used += snprintf(text + used, sizeof text - (size_t)used, "%s", rest);
    } else {
        used += snprintf(text + used, sizeof text - (size_t)used, "%.*s0x%016" PRIx64 "%s",
                         (int)(mark - rest), rest, weft_model_fingerprint(example), mark + 2);
    }
    assert_true(used < BYTES_MAX);
    char *document = strdup(text);
    assert_non_null(document);
    return document;
}

static weft_update accepted(uint64_t payload_bytes, const char *rest)
{
    char *document = document_of(SPARSE, payload_bytes, rest);
    weft_update update = parsed(document, example);

    free(document);
    return update;
}

static weft_detail refused_in(const char *session, const char *rest, const weft_model *model,
                              weft_status status, uint32_t line, uint32_t column)
{
    char *document = document_of(session, 0, rest);
    weft_detail detail = {.status = WEFT_OK};
    weft_status found = answer(document, strlen(document), model, &detail);

    if (found != status || detail.line != line || detail.column != column) {
        fail_msg("%s\nexpected %s at %u, %u; found %s: %s", document, weft_status_name(status),
                 line, column, weft_status_name(found), detail.text);
    }
    assert_int_equal(answer(document, strlen(document), model, NULL), status);
    free(document);
    return detail;
}

static weft_detail refused(const char *rest, weft_status status, uint32_t line, uint32_t column)
{
    return refused_in(SPARSE, rest, example, status, line, column);
}

/* `counts` is the third line. */
static weft_detail counts_refused(const char *counts, weft_status status, uint32_t column)
{
    char rest[BYTES_MAX];

    (void)snprintf(rest, sizeof rest, "\"model\": \"%%s\", \"first\": 1,\n\"counts\": %s}", counts);
    return refused(rest, status, 3, column);
}

/* ---- what is read ---- */

static void test_patches_that_follow(void **state)
{
    weft_update u =
        accepted(88, "\"model\": \"%s\", \"first\": 1, \"counts\": [\"5 0 2\", \"0\", \"0 3\"]}");

    (void)state;
    assert_int_equal(u.form, WEFT_FORM_WEFT_COUNTS);
    assert_int_equal(u.kind, WEFT_SPARSE);
    assert_true(u.has_session);
    assert_int_equal(u.epoch, 12);
    assert_int_equal(u.count, 3);
    expect_patch(&u, 0, 0, 4, 2, 5, 0, 56);
    expect_patch(&u, 1, 6, 8, 1, 2, 24, 72);
    expect_patch(&u, 2, 4, 4, 1, 3, 40, 80);
    assert_int_equal(u.payload_bytes, 88);
    assert_int_equal(u.changed, 10);
    check_round_trip(&u, example);
    release(&u);
}

static void expect_experts(uint64_t count, const char *rest)
{
    weft_update u = accepted((count * 8 + count + 7) / 8 * 8, rest);

    assert_int_equal(u.count, 1);
    assert_int_equal(u.patches[0].tensor, 6);
    assert_true(u.patches[0].count == count);
    check_round_trip(&u, example);
    release(&u);
}

/* Keys in any order, all of a tensor's elements, YAML's other notations. */
static void test_notations(void **state)
{
    (void)state;
    expect_experts(UINT64_C(1) << 32,
                   "\"model\": \"%s\", \"first\": 3, \"counts\": [\"4294967296\"]}");
    expect_experts(7, "\"counts\": [\"7 0\"], \"first\": 3, \"model\": \"%s\"}");
    expect_experts(7, "\"counts\": [\"0 0 0\", \"7\"], \"model\": \"%s\", \"first\": 0}");
    expect_experts(7, "\"counts\": ['7'], \"model\": '%s', \"first\": 3}");
    expect_experts(7, "\"counts\": [0 0 7], \"model\": \"%s\", \"first\": 1}");
    expect_experts(7, "\"counts\": [\"0\n  7\", \"\\x30\"], \"model\": \"%s\", \"first\": 2}");
}

static void test_nothing_changed(void **state)
{
    static const char *const lists[] = {"[]", "[\"0\"]", "[\"0 0 0 0 0 0 0 0 0\"]"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char rest[100];
        (void)snprintf(rest, sizeof rest, "\"model\": \"%%s\", \"first\": 0, \"counts\": %s}",
                       lists[i]);
        weft_update u = accepted(0, rest);
        assert_int_equal(u.count, 0);
        assert_int_equal(u.changed, 0);
        check_round_trip(&u, example);
        release(&u);
    }
    weft_update u = accepted(0, "\"model\": \"%s\", \"first\": 9, \"counts\": []}");
    release(&u);
}

/* Nothing is known but the counts; the payload's bytes are taken at their word. */
static void test_without_model(void **state)
{
    char *document = document_of(
        SPARSE, 64,
        "\"model\": \"0x0000000000000001\", \"first\": 1048574, \"counts\": [\"0 9\"]}");
    weft_update u = parsed(document, NULL);

    (void)state;
    assert_int_equal(u.form, WEFT_FORM_WEFT_COUNTS);
    assert_int_equal(u.count, 1);
    expect_patch(&u, 0, 0, 0, 0, 9, 0, 0);
    assert_int_equal(u.payload_bytes, 64);
    assert_int_equal(u.changed, 9);
    release(&u);
    free(document);
    refused_in(SPARSE, "\"model\": \"%s\", \"first\": 1048575,\n\"counts\": [\"0 9\"]}", NULL,
               WEFT_E_META_TOO_MANY_TENSORS, 3, 15);
    refused_in(SPARSE, "\"model\": \"%s\",\n\"first\": 1048577, \"counts\": []}", NULL,
               WEFT_E_META_OVERFLOW, 3, 10);
    refused_in(
        SPARSE, "\"model\": \"%s\", \"first\": 0,\n\"counts\": [\"18446744073709551615 1\"]}", NULL,
        WEFT_E_SIZE_OVERFLOW, 1, (uint32_t)strlen("{" SPARSE ", \"payload\": {\"bytes\": ") + 1);
}

/* ---- what is refused, and where ---- */

static void test_counts_that_are_no_integers(void **state)
{
    (void)state;
    counts_refused("[7]", WEFT_E_META_WRONG_TYPE, 12);
    counts_refused("[[\"7\"]]", WEFT_E_META_WRONG_TYPE, 12);
    counts_refused("\"7\"", WEFT_E_META_WRONG_TYPE, 11);
    counts_refused("[\"\"]", WEFT_E_META_NOT_AN_INTEGER, 13);
    counts_refused("[\"5 \"]", WEFT_E_META_NOT_AN_INTEGER, 15);
    counts_refused("[\"1\", \" 5\"]", WEFT_E_META_NOT_AN_INTEGER, 18);
    counts_refused("[\"1\", \"5  6\"]", WEFT_E_META_NOT_AN_INTEGER, 20);
    counts_refused("[\"1 05\"]", WEFT_E_META_NOT_AN_INTEGER, 15);
    counts_refused("[\"1 00\"]", WEFT_E_META_NOT_AN_INTEGER, 15);
    counts_refused("[\"1 +5\"]", WEFT_E_META_NOT_AN_INTEGER, 15);
    counts_refused("[\"1 5,6\"]", WEFT_E_META_NOT_AN_INTEGER, 15);
    counts_refused("[\"1 0x5\"]", WEFT_E_META_NOT_AN_INTEGER, 15);
    counts_refused("[\"1 5.0 7\"]", WEFT_E_META_NOT_AN_INTEGER, 15);
    counts_refused("[\"1 -0\"]", WEFT_E_META_NOT_AN_INTEGER, 15);
    counts_refused("[\"1 -5\"]", WEFT_E_META_OVERFLOW, 15);
    counts_refused("[\"1 18446744073709551616\"]", WEFT_E_META_OVERFLOW, 15);
    counts_refused("[\"1 18446744073709551615\"]", WEFT_E_META_COUNT_TOO_LARGE, 15);
    counts_refused("[\"1 9999999999999999999\"]", WEFT_E_META_COUNT_TOO_LARGE, 15);
    counts_refused("[\"1 100000000000000000000\"]", WEFT_E_META_OVERFLOW, 15);
    /* A string that is not written as it is has only its own place. */
    counts_refused("[\"\\x31 +5\"]", WEFT_E_META_NOT_AN_INTEGER, 12);
    counts_refused("[\"1\n +5\"]", WEFT_E_META_NOT_AN_INTEGER, 12);
}

static void test_sentences(void **state)
{
    weft_detail detail = counts_refused("[\"1 5x 2\"]", WEFT_E_META_NOT_AN_INTEGER, 15);

    (void)state;
    assert_string_equal(detail.text, "line 3, column 15: expected an integer from 0 to "
                                     "18446744073709551615, found 5x");
    detail = counts_refused("[\"128\", \"0 4294967296 4\"]", WEFT_E_META_COUNT_TOO_LARGE, 33);
    assert_string_equal(detail.tensor, "model.gr\xc3\xb6\xc3\x9f"
                                       "e");
    assert_string_equal(detail.text, "line 3, column 33: expected at most 3, found 4");
    detail = counts_refused("[\"129\"]", WEFT_E_META_COUNT_TOO_LARGE, 13);
    assert_string_equal(detail.tensor, "model.embed.weight");
    detail = counts_refused("[\"0 0 0 0\", \"0 0 0 0 0\"]", WEFT_E_META_TOO_MANY_TENSORS, 32);
    assert_string_equal(detail.text, "line 3, column 32: expected at most 8 counts, one for each "
                                     "tensor, found more");
    (void)counts_refused("[\"0 0 0 0 0 0 0 0 0 0\"]", WEFT_E_META_TOO_MANY_TENSORS, 31);
    detail = refused("\"model\": \"0x0123456789abcdef\"}", WEFT_E_MODEL_MISMATCH, 2, 10);
    assert_non_null(strstr(detail.text, "found 0x0123456789abcdef"));
}

/* In JSON every string has its limit; in YAML it is the counts' own. */
static void test_length_of_a_string(void **state)
{
    for (size_t length = 3071; length <= 3073; length += 2) {
        char string[3100];
        char rest[4000];
        weft_status status =
            length > 3072 ? WEFT_E_META_NAME_TOO_LONG : WEFT_E_META_TOO_MANY_TENSORS;
        for (size_t i = 0; i < length; i++) {
            string[i] = i % 2 == 0 ? '0' : ' ';
        }
        string[length] = '\0';
        (void)snprintf(rest, sizeof rest, "\"counts\": [\n\"%s\"]}", string);
        (void)refused(rest, status, 3, length > 3072 ? 1 : 2 + 18);
        (void)snprintf(rest, sizeof rest, "counts: [\n\"%s\"]}", string);
        (void)refused(rest, status, 3, length > 3072 ? 1 : 2 + 18);
        (void)snprintf(rest, sizeof rest, "counts: [\n%s]}", string);
        (void)refused(rest, status, 3, length > 3072 ? 1 : 1 + 18);
    }
    (void)state;
}

static void test_keys(void **state)
{
    static const char own[] = SESSION ", \"kind\": \"baseline\"";

    (void)state;
    (void)refused("\"first\": 0, \"counts\": []}", WEFT_E_META_MISSING_KEY, 1, 1);
    (void)refused("\"model\": \"%s\", \"counts\": []}", WEFT_E_META_MISSING_KEY, 1, 1);
    (void)refused("\"model\": \"%s\", \"first\": 0}", WEFT_E_META_MISSING_KEY, 1, 1);
    (void)refused("\"first\": 0, \"first\": 0}", WEFT_E_META_DUPLICATE_KEY, 2, 13);
    (void)refused("\"counts\": [], \"counts\": []}", WEFT_E_META_DUPLICATE_KEY, 2, 15);
    (void)refused("\"patches\": [], \"counts\": [\"1\"]}", WEFT_E_META_UNKNOWN_KEY, 2, 16);
    (void)refused("\"counts\": [], \"patches\": [1]}", WEFT_E_META_UNKNOWN_KEY, 2, 15);
    (void)refused("\"patches\": [], \"first\": 0}", WEFT_E_META_UNKNOWN_KEY, 2, 16);
    (void)refused("\"model\": \"%s\", \"patches\": []}", WEFT_E_META_UNKNOWN_KEY, 2, 32);
    (void)refused("\"first\": 10}", WEFT_E_META_OVERFLOW, 2, 10);
    (void)refused("\"first\": \"0\"}", WEFT_E_META_NOT_AN_INTEGER, 2, 10);
    (void)refused("\"model\": 17}", WEFT_E_META_BAD_DIGEST_TEXT, 2, 10);
    (void)refused("\"names\": []}", WEFT_E_META_UNKNOWN_KEY, 2, 1);
    (void)refused("\"num_updates_list\": []}", WEFT_E_META_UNKNOWN_KEY, 2, 1);
    (void)refused("\"model\": \"%s\", \"first\": 0, \"counts\": [\"1\"]}", WEFT_E_META_WRONG_LAYOUT,
                  1, (uint32_t)strlen("{" SPARSE ", \"payload\": {\"bytes\": ") + 1);
    (void)refused_in(own, "\"counts\": [],\n\"model\": \"%s\", \"first\": 0}", example,
                     WEFT_E_META_UNKNOWN_KEY, 3, 1);
    (void)refused_in(own, "\"first\": 0}", example, WEFT_E_META_UNKNOWN_KEY, 2, 1);
    weft_detail detail;
    static const char vllm[] = "{\"names\": [\"0.weight\"], \"counts\": []}";
    assert_int_equal(answer(vllm, strlen(vllm), example, &detail), WEFT_E_META_UNKNOWN_KEY);
    assert_int_equal(detail.column, 25);
}

/* ---- the same as patches ---- */

static size_t write_in(weft_update *update, weft_update_form form, const weft_model *model,
                       char **text)
{
    size_t length = 0;

    update->form = form;
    assert_int_equal(weft_update_write(update, model, NULL, 0, &length), WEFT_OK);
    *text = malloc(length + 1);
    assert_non_null(*text);
    assert_int_equal(weft_update_write(update, model, *text, length, &length), WEFT_OK);
    (*text)[length] = '\0';
    return length;
}

/* Some tensors of a random model, in canonical order. */
static weft_update random_update(test_random *random, const test_model *model, weft_patch *patches)
{
    const weft_ordered *order = weft_model_order(model->model);
    weft_update u = {
        .kind = WEFT_SPARSE, .has_session = true, .epoch = 1, .of = 1, .patches = patches};
    uint64_t chance = test_random_below(random, 101);

    for (size_t i = 0; i < model->count; i++) {
        if (order[i].elements > 0 && test_random_below(random, 100) < chance) {
            patches[u.count++] =
                (weft_patch){.tensor = order[i].tensor,
                             .count = 1 + test_random_below(random, order[i].elements)};
        }
    }
    assert_int_equal(weft_update_layout(model->model, &u), WEFT_OK);
    return u;
}

/* What the trainer writes, a worker with another order of registration reads as what it would have
 * read of patches. */
static void test_counts_say_what_patches_say(void **state)
{
    test_random random = test_random_start();
    size_t most = 0;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        size_t count = (size_t)test_random_below(&random, round % 10 == 0 ? 3000 : 40);
        test_model *trainer = test_model_create(&random, count);
        test_model *worker = test_model_shuffle(&random, trainer);
        weft_patch *patches = calloc(count + 1, sizeof *patches);
        assert_non_null(patches);
        weft_update u = random_update(&random, trainer, patches);
        char *with_patches = NULL;
        char *with_counts = NULL;
        (void)write_in(&u, WEFT_FORM_WEFT, trainer->model, &with_patches);
        size_t length = write_in(&u, WEFT_FORM_WEFT_COUNTS, trainer->model, &with_counts);
        weft_update a = parsed(with_patches, worker->model);
        weft_update b = parsed(with_counts, worker->model);
        assert_true(same(&a, &b));
        assert_int_equal(b.form, WEFT_FORM_WEFT_COUNTS);
        check_round_trip(&b, worker->model);
        most = length > most ? length : most;
        release(&a);
        release(&b);
        free(with_patches);
        free(with_counts);
        free(patches);
        test_model_destroy(trainer);
        test_model_destroy(worker);
    }
    assert_true(most > 6000); /* several strings */
}

static void test_counts_that_cannot_be_written(void **state)
{
    weft_patch patches[2] = {{.tensor = 1, .count = 1}, {.tensor = 0, .count = 1}};
    weft_update u = {.form = WEFT_FORM_WEFT_COUNTS,
                     .kind = WEFT_SPARSE,
                     .epoch = 1,
                     .of = 1,
                     .count = 2,
                     .patches = patches};
    size_t length = 0;

    (void)state;
    assert_int_equal(weft_update_write(&u, example, NULL, 0, &length), WEFT_E_INVALID_ARGUMENT);
    patches[0].tensor = 0; /* twice */
    assert_int_equal(weft_update_write(&u, example, NULL, 0, &length), WEFT_E_INVALID_ARGUMENT);
    patches[1].tensor = 1;
    assert_int_equal(weft_update_write(&u, example, NULL, 0, &length), WEFT_OK);
    u.kind = WEFT_BASELINE;
    assert_int_equal(weft_update_write(&u, example, NULL, 0, &length), WEFT_E_INVALID_ARGUMENT);
}

/* The strings are cut where the next count would make them longer than 2,000 bytes. */
static void test_cut_into_strings(void **state)
{
    static char data[1];
    weft_patch patches[1001];
    weft_update u = {.form = WEFT_FORM_WEFT_COUNTS,
                     .kind = WEFT_SPARSE,
                     .epoch = 1,
                     .of = 1,
                     .count = 1001,
                     .patches = patches};
    weft_model *model;
    char *text;

    (void)state;
    assert_int_equal(weft_model_create(&model, NULL), WEFT_OK);
    for (uint32_t i = 0; i < 1001; i++) {
        char name[8];
        weft_tensor tensor = {
            .name = name, .dtype = WEFT_U8, .rank = 1, .shape = {9}, .data = data};
        (void)snprintf(name, sizeof name, "%04u", i);
        assert_int_equal(weft_model_add(model, &tensor), WEFT_OK);
        patches[i] = (weft_patch){.tensor = i, .count = 1 + i % 9};
    }
    assert_int_equal(weft_model_sort(model), WEFT_OK);
    assert_int_equal(weft_update_layout(model, &u), WEFT_OK);
    (void)write_in(&u, WEFT_FORM_WEFT_COUNTS, model, &text);
    const char *first = strstr(text, "[\n\"1 2 ");
    assert_non_null(first);
    const char *end = strstr(first, "\",\n\"2\"]}\n"); /* 1,000 counts and 999 spaces */
    assert_non_null(end);
    assert_int_equal(end - first, 3 + 1999);
    free(text);
    weft_model_destroy(model);
}

/* ---- memory ---- */

static void test_failing_allocations(void **state)
{
    char *document =
        document_of(SPARSE, 40, "\"model\": \"%s\", \"first\": 1, \"counts\": [\"5\"]}");

    (void)state;
    for (int with_model = 0; with_model < 2; with_model++) {
        test_allocator memory;
        weft_update update;
        weft_detail detail;
        test_allocator_start(&memory, 1);
        assert_int_equal(weft_update_parse(document, strlen(document),
                                           with_model != 0 ? example : NULL, &LIMITS,
                                           &memory.allocator, &update, &detail),
                         WEFT_E_OUT_OF_MEMORY);
        assert_int_equal(detail.status, WEFT_E_OUT_OF_MEMORY);
        test_allocator_finish(&memory);
        test_allocator_start(&memory, 2);
        assert_int_equal(weft_update_parse(document, strlen(document),
                                           with_model != 0 ? example : NULL, &LIMITS,
                                           &memory.allocator, &update, &detail),
                         WEFT_OK);
        assert_int_equal(memory.calls, 1);
        weft_update_release(&update, &memory.allocator);
        test_allocator_finish(&memory);
    }
    free(document);
}

/* The shortest counts there are, without a model that would bound them. */
static void test_memory_is_bounded(void **state)
{
    static const char *const notations[] = {"0 ", "0\n"};

    (void)state;
    for (size_t n = 0; n < 2; n++) {
        char string[2001] = "";
        size_t capacity = 600000, used;
        char *document = malloc(capacity);
        test_allocator memory;
        weft_update update;
        for (size_t i = 0; i < 1000; i++) {
            memcpy(string + 2 * i, notations[n], 2);
        }
        string[1999] = '\0';
        assert_non_null(document);
        used = (size_t)snprintf(document, capacity,
                                "{%s, \"payload\": {\"bytes\": 0}, \"first\": 0, "
                                "\"model\": \"0x0000000000000000\", \"counts\": [",
                                SPARSE);
        for (size_t i = 0; i < 250; i++) {
            used += (size_t)snprintf(document + used, capacity - used, "%s\"%s\"", i > 0 ? "," : "",
                                     string);
        }
        used += (size_t)snprintf(document + used, capacity - used, "]}");
        test_allocator_start(&memory, 0);
        assert_int_equal(
            weft_update_parse(document, used, NULL, &LIMITS, &memory.allocator, &update, NULL),
            WEFT_OK);
        assert_true(memory.peak_bytes > 0 && memory.peak_bytes <= 16 * used);
        weft_update_release(&update, &memory.allocator);
        test_allocator_finish(&memory);
        free(document);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patches_that_follow),
        cmocka_unit_test(test_notations),
        cmocka_unit_test(test_nothing_changed),
        cmocka_unit_test(test_without_model),
        cmocka_unit_test(test_counts_that_are_no_integers),
        cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_length_of_a_string),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_counts_say_what_patches_say),
        cmocka_unit_test(test_counts_that_cannot_be_written),
        cmocka_unit_test(test_cut_into_strings),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_memory_is_bounded),
    };
    int failed;

    example = example_model_create();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    weft_model_destroy(example);
    return failed != 0;
}
