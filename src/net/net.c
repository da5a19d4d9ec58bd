/* The life of a net, its turns, and the calls that wait. */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define NS_PER_MS UINT64_C(1000000)
#define SPIN_NS   UINT64_C(300000)

uint64_t weft_net_now_ns(void)
{
    return uv_hrtime();
}

void weft_net_say(weft_net *net, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(net->text, sizeof net->text, format, arguments);
    va_end(arguments);
}

/* ---- Life ---- */

weft_status weft_net_create(weft_net **net)
{
    if (net == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_net *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return WEFT_E_OUT_OF_MEMORY;
    }
    if (uv_loop_init(&made->loop) != 0) {
        free(made);
        return WEFT_E_SYSTEM_CALL;
    }
    (void)uv_timer_init(&made->loop, &made->timer); /* cannot fail */
    *net = made;
    return WEFT_OK;
}

void weft_net_destroy(weft_net *net)
{
    if (net == NULL) {
        return;
    }
    while (net->dialers != NULL) {
        weft_dialer_destroy(net->dialers);
    }
    while (net->connections != NULL) {
        weft_connection_close(net->connections, WEFT_E_CANCELLED);
    }
    while (net->listeners != NULL) {
        weft_listener_destroy(net->listeners);
    }
    uv_close((uv_handle_t *)&net->timer, NULL);
    (void)uv_run(&net->loop, UV_RUN_DEFAULT); /* until every close callback has run */
    (void)uv_loop_close(&net->loop);
    free(net);
}

/* ---- One turn ---- */

/* libuv writes with writev, and a peer that is gone makes that a SIGPIPE, which would end the
 * process of somebody who only asked for a push. So it is blocked while libuv runs, and one that
 * was raised meanwhile is taken away; EPIPE says the same. */
typedef struct pipe_guard {
    sigset_t before;
    bool pending; /* before: somebody else's, which stays */
} pipe_guard;

static pipe_guard guard_begin(void)
{
    pipe_guard guard;
    sigset_t set;
    (void)sigpending(&set);
    guard.pending = sigismember(&set, SIGPIPE) == 1;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &set, &guard.before);
    return guard;
}

static void guard_end(const pipe_guard *guard)
{
    const struct timespec at_once = {.tv_sec = 0};
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGPIPE);
    if (!guard->pending) {
        (void)sigtimedwait(&set, NULL, &at_once); /* EAGAIN: there was none */
    }
    (void)pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
}

/* All that is not a callback: time, output, broken links, attempts. A link that closes can cause
 * output on links that were served before it, so the pass is repeated; each time there is one less.
 */
static void service(weft_net *net)
{
    net->more = false;
    net->turn++;
    for (weft_endpoint *endpoint = net->endpoints; endpoint != NULL; endpoint = endpoint->next) {
        weft_endpoint_tick(net, endpoint);
    }
    for (weft_listener *listener = net->listeners; listener != NULL; listener = listener->next) {
        weft_listener_service(listener);
    }
    do {
        weft_connection *next = NULL;
        net->closed = false;
        for (weft_connection *at = net->connections; at != NULL; at = next) {
            next = at->next;
            weft_connection_service(at);
        }
    } while (net->closed);
    for (weft_endpoint *endpoint = net->endpoints; endpoint != NULL; endpoint = endpoint->next) {
        weft_endpoint_service(net, endpoint);
    }
    weft_dialer *after = NULL;
    for (weft_dialer *dialer = net->dialers; dialer != NULL; dialer = after) {
        after = dialer->next;
        weft_dialer_service(dialer);
        if (dialer->ended) {
            weft_dialer_destroy(dialer);
        }
    }
}

static uint64_t due_ns(const weft_net *net)
{
    uint64_t due = UINT64_MAX;
    for (const weft_endpoint *at = net->endpoints; at != NULL; at = at->next) {
        uint64_t next = weft_endpoint_next_ns(at);
        due = next < due ? next : due;
    }
    for (const weft_dialer *at = net->dialers; at != NULL; at = at->next) {
        uint64_t next = weft_dialer_next_ns(at);
        due = next < due ? next : due;
    }
    return due;
}

/* Milliseconds until then, rounded up; -1 for never. */
static int milliseconds_until(uint64_t then_ns)
{
    uint64_t now_ns = weft_net_now_ns();
    if (then_ns == UINT64_MAX) {
        return -1;
    }
    uint64_t left_ms = then_ns > now_ns
                           ? (then_ns - now_ns) / NS_PER_MS + ((then_ns - now_ns) % NS_PER_MS != 0)
                           : 0;
    return left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}

/* The wait is over, also where it has not begun: when the time went by before uv_run looked at the
 * clock, libuv up to 1.44 calls this first, and would then wait for ever. */
static void on_timer(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* Lets libuv wait for so long, and run its callbacks. */
static void run(weft_net *net, int wait_ms)
{
    net->changed = false;
    net->turn++;
    if (wait_ms == 0) {
        (void)uv_run(&net->loop, UV_RUN_NOWAIT);
        return;
    }
    if (wait_ms > 0) {
        uv_update_time(&net->loop);
        (void)uv_timer_start(&net->timer, on_timer, (uint64_t)wait_ms, 0);
    }
    (void)uv_run(&net->loop, UV_RUN_ONCE);
    (void)uv_timer_stop(&net->timer);
}

/* Within a session the next message comes in some ten microseconds, and a thread that sleeps takes
 * that long to wake up, ten times a session. So here it stays awake for a little. True when
 * something came. */
static bool spin(weft_net *net)
{
    bool in_session = false;
    for (const weft_endpoint *at = net->endpoints; at != NULL && !in_session; at = at->next) {
        in_session = weft_endpoint_in_session(at);
    }
    uint64_t end_ns = weft_net_now_ns() + SPIN_NS;
    while (in_session && !net->happened && weft_net_now_ns() < end_ns) {
        run(net, 0);
    }
    return net->happened;
}

weft_status weft_net_poll_wait(weft_net *net, int timeout_ms)
{
    if (net == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (net->running) {
        return WEFT_E_WRONG_STATE;
    }
    pipe_guard guard = guard_begin();
    net->running = true;
    net->happened = false;
    service(net);
    int due_ms = milliseconds_until(due_ns(net));
    int wait_ms = due_ms < 0 || (timeout_ms >= 0 && timeout_ms < due_ms) ? timeout_ms : due_ms;
    if (net->happened || net->more || wait_ms == 0) {
        run(net, 0);
    } else if (!spin(net)) {
        run(net, wait_ms);
    }
    service(net);
    net->running = false;
    guard_end(&guard);
    return WEFT_OK;
}

weft_status weft_net_poll(weft_net *net)
{
    return weft_net_poll_wait(net, 0);
}

int weft_net_fd(const weft_net *net)
{
    return net == NULL ? -1 : uv_backend_fd(&net->loop);
}

int weft_net_next_ms(const weft_net *net)
{
    if (net == NULL) {
        return -1;
    }
    bool waits = net->more || net->changed;
    for (const weft_connection *at = net->connections; at != NULL && !waits; at = at->next) {
        waits = weft_connection_waits(at);
    }
    return waits ? 0 : milliseconds_until(due_ns(net));
}

const char *weft_net_text(const weft_net *net)
{
    return net == NULL ? NULL : net->text;
}

/* ---- Listen and connect ---- */

static weft_status parse(weft_net *net, weft_address *address, const char *text)
{
    weft_status status = weft_address_parse(address, text);
    if (status != WEFT_OK) {
        weft_net_say(net, "\"%.300s\" is no address: host:port or [ipv6]:port is expected", text);
    }
    return status;
}

weft_status weft_net_listen(weft_net *net, weft_worker *worker, const char *text, uint16_t *port)
{
    weft_address address;
    if (net == NULL || worker == NULL || text == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_status status = parse(net, &address, text);
    return status != WEFT_OK ? status : weft_listener_create(net, worker, &address, port);
}

weft_status weft_net_connect(weft_net *net, weft_trainer *trainer, const char *text)
{
    weft_address address;
    if (net == NULL || trainer == NULL || text == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_status status = parse(net, &address, text);
    if (status == WEFT_OK && address.number == 0) {
        weft_net_say(net, "%s: port 0 is for listening only", text);
        status = WEFT_E_ADDRESS;
    }
    if (status == WEFT_OK && weft_dialer_create(net, trainer, &address) == NULL) {
        status = WEFT_E_OUT_OF_MEMORY;
    }
    return status;
}

weft_status weft_net_disconnect(weft_net *net, weft_trainer *trainer, const char *text)
{
    if (net == NULL || trainer == NULL || text == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (net->running) {
        return WEFT_E_WRONG_STATE;
    }
    weft_dialer *dialer = weft_dialer_find(net, trainer, text);
    if (dialer == NULL) {
        weft_net_say(net, "%.300s: this trainer is not connected to it", text);
        return WEFT_E_ADDRESS;
    }
    weft_dialer_destroy(dialer);
    return WEFT_OK;
}

/* ---- Waiting ---- */

/* Why a push would not reach the worker of this address; NULL if it would. */
static const char *why_missing(const weft_dialer *dialer)
{
    weft_trainer_worker_info info;
    const weft_connection *connection = dialer->connection;
    if (connection == NULL || !connection->linked) {
        return dialer->text[0] != '\0' ? dialer->text : "no answer yet";
    }
    weft_status status = weft_trainer_worker(dialer->endpoint->trainer, connection->link, &info);
    if (status == WEFT_OK && info.known) {
        return NULL;
    }
    return status == WEFT_OK && info.name[0] != '\0' ? weft_status_text(WEFT_E_MODEL_MISMATCH)
                                                     : "connected, and no HELLO came";
}

/* Names every missing address as long as the text has room. */
static void say_who_is_missing(weft_net *net, const weft_trainer *trainer, uint32_t there,
                               uint32_t wanted)
{
    size_t length;
    const char *separator = ":";
    weft_net_say(net, "%u of %u workers are there", there, wanted);
    length = strlen(net->text);
    for (const weft_dialer *at = net->dialers; at != NULL; at = at->next) {
        const char *why = at->endpoint->trainer == trainer ? why_missing(at) : NULL;
        size_t room = sizeof net->text - length;
        if (why == NULL) {
            continue;
        }
        int written =
            snprintf(net->text + length, room, "%s %s (%s)", separator, at->address.text, why);
        if (written < 0 || (size_t)written >= room) {
            (void)snprintf(net->text + length, room, ", ...");
            return;
        }
        length += (size_t)written;
        separator = ",";
    }
}

weft_status weft_net_workers_wait(weft_net *net, weft_trainer *trainer, uint32_t workers,
                                  int timeout_ms)
{
    weft_trainer_info info;
    if (net == NULL || trainer == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    uint64_t end_ns =
        timeout_ms < 0 ? UINT64_MAX : weft_net_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
    weft_status status = weft_net_poll(net);
    weft_trainer_get_info(trainer, &info);
    while (status == WEFT_OK && info.workers < workers) {
        int left_ms = milliseconds_until(end_ns);
        if (left_ms == 0) {
            say_who_is_missing(net, trainer, info.workers, workers);
            return WEFT_E_CONNECT;
        }
        status = weft_net_poll_wait(net, left_ms);
        weft_trainer_get_info(trainer, &info);
    }
    return status;
}

static uint32_t count_dialers(const weft_net *net, const weft_trainer *trainer)
{
    uint32_t count = 0;
    for (const weft_dialer *dialer = net->dialers; dialer != NULL; dialer = dialer->next) {
        count += dialer->endpoint->trainer == trainer ? 1 : 0;
    }
    return count;
}

/* Said HELLO, and holds another model: waiting does not help, and a push says so. */
static bool is_any_refused(const weft_trainer *trainer)
{
    weft_trainer_worker_info info;
    for (uint32_t i = 0; weft_trainer_worker(trainer, i, &info) == WEFT_OK; i++) {
        if (info.open && !info.known && info.name[0] != '\0') {
            return true;
        }
    }
    return false;
}

/* Links may be lost while the caller is busy with other things. A push without one of the workers
 * would leave the fleet at two versions, so all of them come back first. */
static weft_status wait_for_all(weft_net *net, weft_trainer *trainer)
{
    uint64_t end_ns = weft_net_now_ns() + WEFT_NET_RECONNECT_MS * NS_PER_MS;
    weft_status status = weft_net_poll(net);
    weft_trainer_info info;
    weft_trainer_get_info(trainer, &info);
    while (status == WEFT_OK && info.workers < count_dialers(net, trainer) &&
           !is_any_refused(trainer)) {
        int left_ms = milliseconds_until(end_ns);
        if (left_ms == 0) {
            say_who_is_missing(net, trainer, info.workers, count_dialers(net, trainer));
            return WEFT_E_CONNECT;
        }
        status = weft_net_poll_wait(net, left_ms);
        weft_trainer_get_info(trainer, &info);
    }
    return status;
}

weft_status weft_net_push_wait(weft_net *net, weft_trainer *trainer, weft_kind kind,
                               uint64_t version, weft_push *push)
{
    weft_push result;
    if (net == NULL || trainer == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    weft_status status = wait_for_all(net, trainer);
    if (status != WEFT_OK) {
        return status;
    }
    uint64_t begin_ns = weft_net_now_ns();
    status = weft_trainer_push(trainer, kind, version);
    uint64_t diff_ns = weft_net_now_ns() - begin_ns;
    if (status != WEFT_OK) {
        return status;
    }
    while ((status = weft_trainer_result(trainer, &result)) == WEFT_AGAIN) {
        (void)weft_net_poll_wait(net, -1);
    }
    result.diff_ns = diff_ns;
    if (push != NULL) {
        *push = result;
    }
    return status;
}
