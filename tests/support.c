#include "support.h"

#include "model.h"
#include "protocol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_DEFAULT UINT64_C(20261124)

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "support: %s\n", what);
    abort();
}

static void must_hold(bool condition, const char *what)
{
    if (!condition) {
        die(what);
    }
}

static void *must(void *pointer)
{
    must_hold(pointer != NULL, "no memory");
    return pointer;
}

/* ---- random numbers ---- */

test_random test_random_start(void)
{
    const char *text = getenv("WEFT_SEED");
    test_random random = {.state = text == NULL ? SEED_DEFAULT : strtoull(text, NULL, 0)};

    (void)fprintf(stderr, "WEFT_SEED=%" PRIu64 "\n", random.state);
    return random;
}

/* splitmix64 (Steele et al. 2014). */
uint64_t test_random_next(test_random *random)
{
    uint64_t x = random->state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t test_random_below(test_random *random, uint64_t limit)
{
    return test_random_next(random) % limit;
}

void test_random_fill(test_random *random, void *bytes, size_t length)
{
    uint8_t *at = bytes;

    for (size_t i = 0; i < length; i++) {
        at[i] = (uint8_t)(test_random_next(random) >> 56);
    }
}

/* ---- bits ---- */

uint64_t test_bits_get(const void *array, uint64_t index, uint8_t bytes)
{
    const uint8_t *at = (const uint8_t *)array + index * bytes;
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

void test_bits_set(void *array, uint64_t index, uint8_t bytes, uint64_t value)
{
    uint8_t *at = (uint8_t *)array + index * bytes;

    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

/* ---- models ---- */

/* A block that ends where the data ends; *block is what to free. */
static uint8_t *exact_block(test_random *random, size_t bytes, void **block)
{
    size_t offset = test_random_below(random, 2) == 0 ? 0 : 1 + 2 * test_random_below(random, 4);

    *block = must(malloc(offset + bytes + (offset + bytes == 0)));
    return (uint8_t *)*block + offset;
}

static size_t tensor_bytes(const test_model *model, size_t number)
{
    const weft_tensor *tensor = weft_model_tensor(model->model, number);

    return (size_t)(weft_model_elements(model->model, number) * weft_dtype_bytes(tensor->dtype));
}

static test_model *empty_model(size_t count)
{
    test_model *fresh = must(malloc(sizeof *fresh));

    *fresh = (test_model){.count = count, .blocks = must(calloc(count + 1, sizeof(void *)))};
    must_hold(weft_model_create(&fresh->model, NULL) == WEFT_OK, "no model");
    return fresh;
}

/* Ranks 0 to 3; a tensor of rank 1 is often longer than a stride, and odd sizes are common. */
static uint64_t random_shape(test_random *random, weft_tensor *tensor)
{
    uint64_t elements = 1;

    tensor->rank = (uint32_t)test_random_below(random, 4);
    for (uint32_t i = 0; i < tensor->rank; i++) {
        uint64_t limit = tensor->rank == 1 ? 2000 : 12;
        tensor->shape[i] =
            test_random_below(random, 10) == 0 ? 0 : test_random_below(random, limit);
        elements *= tensor->shape[i];
    }
    return elements;
}

test_model *test_model_create(test_random *random, size_t count)
{
    test_model *fresh = empty_model(count);

    for (size_t i = 0; i < count; i++) {
        char name[32];
        weft_tensor tensor = {.name = name, .dtype = (weft_dtype)(1 + i % TEST_DTYPES)};
        size_t bytes = (size_t)random_shape(random, &tensor) * weft_dtype_bytes(tensor.dtype);

        (void)snprintf(name, sizeof name, "tensor.%zu", i);
        tensor.data = exact_block(random, bytes, &fresh->blocks[i]);
        test_random_fill(random, tensor.data, bytes);
        must_hold(weft_model_add(fresh->model, &tensor) == WEFT_OK, "no tensor");
    }
    must_hold(weft_model_sort(fresh->model) == WEFT_OK, "no order");
    return fresh;
}

static void add_copy(test_random *random, test_model *to, const test_model *from, size_t number)
{
    weft_tensor tensor = *weft_model_tensor(from->model, number);
    size_t bytes = tensor_bytes(from, number);
    uint8_t *data = exact_block(random, bytes, &to->blocks[weft_model_count(to->model)]);

    memcpy(data, tensor.data, bytes);
    tensor.data = data;
    must_hold(weft_model_add(to->model, &tensor) == WEFT_OK, "no tensor");
}

test_model *test_model_copy(test_random *random, const test_model *from)
{
    test_model *fresh = empty_model(from->count);

    for (size_t i = 0; i < from->count; i++) {
        add_copy(random, fresh, from, i);
    }
    must_hold(weft_model_sort(fresh->model) == WEFT_OK, "no order");
    return fresh;
}

test_model *test_model_shuffle(test_random *random, const test_model *from)
{
    test_model *fresh = empty_model(from->count);
    size_t *left = must(calloc(from->count + 1, sizeof *left));

    for (size_t i = 0; i < from->count; i++) {
        left[i] = i;
    }
    for (size_t count = from->count; count > 0; count--) {
        size_t chosen = (size_t)test_random_below(random, count);
        add_copy(random, fresh, from, left[chosen]);
        left[chosen] = left[count - 1];
    }
    free(left);
    must_hold(weft_model_sort(fresh->model) == WEFT_OK, "no order");
    return fresh;
}

void test_model_destroy(test_model *model)
{
    weft_model_destroy(model->model);
    for (size_t i = 0; i < model->count; i++) {
        free(model->blocks[i]);
    }
    free(model->blocks);
    free(model);
}

bool test_model_equal(const test_model *a, const test_model *b)
{
    bool equal = a->count == b->count;

    for (size_t i = 0; equal && i < a->count; i++) {
        const weft_tensor *tensor = weft_model_tensor(a->model, i);
        size_t k = 0;
        equal = weft_model_find(b->model, tensor->name, strlen(tensor->name), &k) == WEFT_OK &&
                tensor_bytes(a, i) == tensor_bytes(b, k) &&
                memcmp(tensor->data, weft_model_tensor(b->model, k)->data, tensor_bytes(a, i)) == 0;
    }
    return equal;
}

/* Not 0 in the lowest `bytes` bytes: what is flipped in an element that changes. Now and then one
 * bit only, so that the sign alone or the lowest bit alone differs. */
static uint64_t random_flip(test_random *random, uint8_t bytes)
{
    uint64_t flip = test_random_next(random) >> (8 * (8 - bytes) & 63);

    if (flip == 0 || test_random_below(random, 4) == 0) {
        flip = UINT64_C(1) << test_random_below(random, UINT64_C(8) * bytes);
    }
    return flip;
}

uint64_t test_model_change(test_random *random, const test_model *model, unsigned per_mille)
{
    uint64_t changed = 0;

    for (size_t i = 0; i < model->count; i++) {
        const weft_tensor *tensor = weft_model_tensor(model->model, i);
        uint8_t bytes = (uint8_t)weft_dtype_bytes(tensor->dtype);

        for (uint64_t j = 0; j < weft_model_elements(model->model, i); j++) {
            if (test_random_below(random, 1000) < per_mille) {
                uint64_t old = test_bits_get(tensor->data, j, bytes);
                test_bits_set(tensor->data, j, bytes, old ^ random_flip(random, bytes));
                changed++;
            }
        }
    }
    return changed;
}

/* ---- sparse changes ---- */

test_change test_change_create(test_random *random, uint64_t elements, uint8_t index_bytes,
                               uint8_t element_bytes, unsigned per_mille)
{
    test_random again = *random;
    test_change change = {.count = 0};

    /* The first run counts, the second draws the same numbers. */
    for (uint64_t i = 0; i < elements; i++) {
        change.count += test_random_below(random, 1000) < per_mille;
    }
    change.blocks[0] = must(malloc((size_t)change.count * index_bytes + 1));
    change.blocks[1] = must(malloc((size_t)change.count * element_bytes + 1));
    change.indices = (uint8_t *)change.blocks[0] + 1;
    change.values = (uint8_t *)change.blocks[1] + 1;
    for (uint64_t i = 0, position = 0; i < elements; i++) {
        if (test_random_below(&again, 1000) < per_mille) {
            test_bits_set(change.indices, position++, index_bytes, i);
        }
    }
    test_random_fill(random, change.values, (size_t)change.count * element_bytes);
    return change;
}

void test_change_release(test_change *change)
{
    free(change->blocks[0]);
    free(change->blocks[1]);
}

/* ---- actions ---- */

static const char *action_word(const weft_action *action)
{
    switch ((weft_action_type)action->type) {
    case WEFT_ACTION_TRANSITION:
        return weft_state_name((weft_state)action->transition.to);
    case WEFT_ACTION_SEND:
        return weft_message_name(action->message);
    case WEFT_ACTION_DROP:
        return "drop";
    case WEFT_ACTION_CLOSE:
        return "close";
    case WEFT_ACTION_TAKE:
        return "take";
    case WEFT_ACTION_OPEN:
        return "open";
    case WEFT_ACTION_VERIFY:
        return "verify";
    case WEFT_ACTION_PAUSE:
        return "pause";
    case WEFT_ACTION_PUT:
        return "put";
    case WEFT_ACTION_CANCEL:
        return "cancel";
    case WEFT_ACTION_UNDO:
        return "undo";
    case WEFT_ACTION_TRANSFER:
        return "transfer";
    case WEFT_ACTION_COMMITTED:
        return "committed";
    case WEFT_ACTION_RELEASE:
        return "release";
    case WEFT_ACTION_RESUME:
        return "resume";
    case WEFT_ACTION_FAILED:
        return "failed";
    case WEFT_ACTION_ADVANCE:
        return "advance";
    case WEFT_ACTION_ASK:
        return "ask";
    }
    return "?";
}

/* "(CODE)" where a status is told, "" elsewhere. */
static void action_status(const weft_action *action, char *text, size_t capacity)
{
    bool tells = action->type == WEFT_ACTION_DROP || action->type == WEFT_ACTION_CLOSE ||
                 action->type == WEFT_ACTION_FAILED || action->type == WEFT_ACTION_COMMITTED ||
                 (action->type == WEFT_ACTION_SEND && (action->message == WEFT_MESSAGE_FAILED ||
                                                       action->message == WEFT_MESSAGE_ABORT));

    text[0] = '\0';
    if (tells && action->status != WEFT_OK) {
        const char *name = weft_status_name((weft_status)action->status);
        (void)snprintf(text, capacity, "(%s)", name + strlen("WEFT_E_"));
    }
}

static void action_link(const weft_action *action, char *text, size_t capacity)
{
    text[0] = '\0';
    if (action->type != WEFT_ACTION_SEND && action->type != WEFT_ACTION_CLOSE) {
        return;
    }
    if (action->link == WEFT_LINK_ALL || action->link == WEFT_LINK_LOCAL) {
        (void)snprintf(text, capacity, ":%s", action->link == WEFT_LINK_ALL ? "all" : "local");
    } else {
        (void)snprintf(text, capacity, ":%" PRIu32, action->link);
    }
}

void test_actions_text(const struct weft_actions *actions, char *text, size_t capacity)
{
    size_t length = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < actions->count; i++) {
        const weft_action *action = &actions->list[i];
        char status[64], link[16];
        action_status(action, status, sizeof status);
        action_link(action, link, sizeof link);
        length += (size_t)snprintf(text + length, capacity - length, "%s%s%s%s%s", i > 0 ? " " : "",
                                   action->type == WEFT_ACTION_TRANSITION ? "->" : "",
                                   action_word(action), status, link);
        must_hold(length < capacity, "the text of the actions is too long");
    }
}

/* ---- allocator ---- */

struct test_block {
    struct test_block *next;
    void *pointer;
    size_t bytes;
    weft_memory where;
};

static void *counting_allocate(void *context, size_t bytes, weft_memory where)
{
    test_allocator *allocator = context;
    struct test_block *block;

    must_hold(bytes != 0, "an allocation of 0 bytes");
    allocator->calls++;
    if (allocator->calls == allocator->fail_at) {
        return NULL;
    }
    block = must(malloc(sizeof *block));
    *block = (struct test_block){.next = allocator->blocks, .bytes = bytes, .where = where};
    must_hold(posix_memalign(&block->pointer, 64, bytes) == 0, "no memory");
    /* Nobody may count on zeros. */
    memset(block->pointer, 0xa5, bytes);
    allocator->blocks = block;
    allocator->live_bytes += bytes;
    allocator->live_of[where] += bytes;
    if (allocator->live_bytes > allocator->peak_bytes) {
        allocator->peak_bytes = allocator->live_bytes;
    }
    return block->pointer;
}

static void counting_release(void *context, void *pointer, size_t bytes, weft_memory where)
{
    test_allocator *allocator = context;
    struct test_block **link = &allocator->blocks;
    struct test_block *block;

    while (*link != NULL && (*link)->pointer != pointer) {
        link = &(*link)->next;
    }
    block = *link;
    if (block == NULL) {
        die("a release of what was never given");
    }
    must_hold(block->bytes == bytes, "a release with other bytes than the allocation");
    must_hold(block->where == where, "a release with another place than the allocation");
    *link = block->next;
    allocator->live_bytes -= bytes;
    allocator->live_of[where] -= bytes;
    free(block->pointer);
    free(block);
}

void test_allocator_start(test_allocator *allocator, uint64_t fail_at)
{
    *allocator =
        (test_allocator){.allocator = {.allocate = counting_allocate, .release = counting_release},
                         .fail_at = fail_at};
    allocator->allocator.context = allocator;
}

void test_allocator_finish(const test_allocator *allocator)
{
    must_hold(allocator->blocks == NULL, "memory is still held");
}
