/* Keeps a trainer connected to one address: looks the name up, tries what it stands for in turn,
 * and begins again after a pause whenever the connection is lost or cannot be made. For a worker in
 * doubt it does that once. */
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define NS_PER_MS        UINT64_C(1000000)
#define BACKOFF_FIRST_MS 50u
#define BACKOFF_MOST_MS  2000u

static weft_dialer *create(weft_net *net, weft_worker *worker, weft_trainer *trainer,
                           const weft_address *address)
{
    weft_dialer *dialer = calloc(1, sizeof *dialer);
    weft_endpoint *endpoint = dialer != NULL ? weft_endpoint_acquire(net, worker, trainer) : NULL;
    if (endpoint == NULL) {
        free(dialer);
        return NULL;
    }
    dialer->endpoint = endpoint;
    dialer->net = net;
    dialer->address = *address;
    dialer->backoff_ms = BACKOFF_FIRST_MS;
    weft_dialer **end = &net->dialers;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = dialer; /* in the order in which the user named them */
    net->changed = true;
    return dialer;
}

weft_dialer *weft_dialer_create(weft_net *net, weft_trainer *trainer, const weft_address *address)
{
    return create(net, NULL, trainer, address);
}

weft_dialer *weft_dialer_create_once(weft_net *net, weft_worker *worker, uint32_t rank,
                                     const weft_address *address)
{
    weft_dialer *dialer = create(net, worker, NULL, address);
    if (dialer != NULL) {
        dialer->rank = rank;
    }
    return dialer;
}

void weft_dialer_destroy(weft_dialer *dialer)
{
    weft_net *net = dialer->net;
    weft_dialer **at = &net->dialers;
    while (*at != dialer) {
        at = &(*at)->next;
    }
    *at = dialer->next;
    if (dialer->lookup != NULL) {
        dialer->lookup->dialer = NULL;
        (void)uv_cancel((uv_req_t *)&dialer->lookup->request); /* or it ends by itself */
    }
    if (dialer->connection != NULL) {
        weft_connection_close(dialer->connection, WEFT_E_CANCELLED);
    }
    weft_endpoint_release(net, dialer->endpoint);
    free(dialer);
}

weft_dialer *weft_dialer_find(weft_net *net, const weft_trainer *trainer, const char *address)
{
    weft_dialer *dialer = net->dialers;
    while (dialer != NULL &&
           (dialer->endpoint->trainer != trainer || strcmp(dialer->address.text, address) != 0)) {
        dialer = dialer->next;
    }
    return dialer;
}

/* ---- One attempt ---- */

/* Every address of this attempt failed, or there was none; or the connection is over. */
static void pause_before_next(weft_dialer *dialer)
{
    if (dialer->rank != 0) {
        dialer->ended = dialer->net->happened = true;
        weft_worker_peer_failed(dialer->endpoint->worker, dialer->rank);
        return;
    }
    dialer->list.count = dialer->tried = 0;
    dialer->due_ns = weft_net_now_ns() + dialer->backoff_ms * NS_PER_MS;
    bool most = dialer->backoff_ms > BACKOFF_MOST_MS / 2;
    dialer->backoff_ms = most ? BACKOFF_MOST_MS : 2 * dialer->backoff_ms;
}

static void fail(weft_dialer *dialer, int error)
{
    (void)snprintf(dialer->text, sizeof dialer->text, "%s", uv_strerror(error));
    weft_net_say(dialer->net, "%s: %s", dialer->address.text, dialer->text);
    pause_before_next(dialer);
}

static void on_found(uv_getaddrinfo_t *request, int error, struct addrinfo *found)
{
    weft_lookup *lookup = request->data;
    weft_dialer *dialer = lookup->dialer;
    if (dialer != NULL) {
        dialer->lookup = NULL;
        dialer->net->happened = true;
        if (error != 0) {
            fail(dialer, error);
        } else {
            weft_address_take(&dialer->list, found);
        }
    }
    uv_freeaddrinfo(found);
    free(lookup);
}

static void look_up(weft_dialer *dialer)
{
    const weft_address *address = &dialer->address;
    struct addrinfo hints = weft_address_hints();
    weft_lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL) {
        fail(dialer, UV_ENOMEM);
        return;
    }
    lookup->dialer = dialer;
    lookup->request.data = lookup;
    int error = uv_getaddrinfo(&dialer->net->loop, &lookup->request, on_found, address->host,
                               address->port, &hints);
    if (error != 0) {
        free(lookup);
        fail(dialer, error);
        return;
    }
    dialer->lookup = lookup;
}

static void connect_next(weft_dialer *dialer)
{
    struct sockaddr_storage *address = &dialer->list.found[dialer->tried++];
    dialer->connection =
        weft_connection_create(dialer->net, dialer->endpoint, dialer, dialer->address.text);
    if (dialer->connection == NULL) {
        fail(dialer, UV_ENOMEM);
    } else { /* a failure has told weft_dialer_lost */
        (void)weft_connection_connect(dialer->connection, (struct sockaddr *)address);
    }
}

void weft_dialer_service(weft_dialer *dialer)
{
    if (weft_net_now_ns() < weft_dialer_next_ns(dialer)) {
        return;
    }
    if (dialer->tried == dialer->list.count) {
        dialer->tried = 0;
        if (!weft_address_is_numeric(&dialer->address, &dialer->list)) {
            look_up(dialer);
            return;
        }
    }
    connect_next(dialer);
}

uint64_t weft_dialer_next_ns(const weft_dialer *dialer)
{
    bool busy = dialer->lookup != NULL || dialer->connection != NULL || dialer->ended;
    return busy ? UINT64_MAX : dialer->due_ns;
}

/* ---- What its connection tells ---- */

void weft_dialer_heard(weft_dialer *dialer)
{
    dialer->backoff_ms = BACKOFF_FIRST_MS;
    dialer->list.count = dialer->tried = 0; /* the name may mean another machine next time */
    dialer->text[0] = '\0';
}

void weft_dialer_lost(weft_dialer *dialer)
{
    dialer->connection = NULL;
    if (dialer->tried == dialer->list.count) {
        pause_before_next(dialer);
    }
}
