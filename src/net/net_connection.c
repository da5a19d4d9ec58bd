/* One TCP stream and the link that it carries. Bytes leave without a copy as long as the socket
 * takes them. What it does not take of a chunk is copied into a buffer of the connection's own, and
 * nothing more is asked of the endpoint until that is written: so a slow peer costs one chunk, and
 * no memory of a session is referenced after the call that handed it out. */
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define KEEPALIVE_S 30u /* the system's own; weft's PING is first in all but odd configurations */

weft_connection *weft_connection_create(weft_net *net, weft_endpoint *endpoint, weft_dialer *dialer,
                                        const char *peer)
{
    weft_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        return NULL;
    }
    (void)uv_tcp_init(&net->loop, &connection->socket.tcp); /* cannot fail: no socket yet */
    connection->socket.handle.data = connection;
    connection->net = net;
    connection->endpoint = endpoint;
    connection->dialer = dialer;
    (void)snprintf(connection->peer, sizeof connection->peer, "%s", peer != NULL ? peer : "");
    connection->next = net->connections;
    if (connection->next != NULL) {
        connection->next->previous = connection;
    }
    net->connections = connection;
    return connection;
}

/* ---- The end ---- */

static void on_closed(uv_handle_t *handle)
{
    weft_connection *connection = handle->data;
    free(connection->rest);
    free(connection);
}

static void leave_list(weft_connection *connection)
{
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        connection->net->connections = connection->next;
    }
}

void weft_connection_close(weft_connection *connection, weft_status status)
{
    weft_net *net = connection->net;
    leave_list(connection);
    uv_close(&connection->socket.handle, on_closed);
    net->happened = net->changed = net->closed = true;
    if (connection->dialer != NULL) {
        weft_dialer_lost(connection->dialer);
    }
    if (connection->linked) {
        connection->linked = false;
        weft_endpoint_link_close(connection->endpoint, connection->link, status);
    }
}

static void note(weft_connection *connection, const char *text)
{
    weft_net_say(connection->net, "%s: %s", connection->peer, text);
    if (connection->dialer != NULL) {
        (void)snprintf(connection->dialer->text, sizeof connection->dialer->text, "%s", text);
    }
}

/* libuv's error ends the connection. */
static void fail(weft_connection *connection, int error)
{
    bool closed = error == UV_EOF || error == UV_ECONNRESET || error == UV_EPIPE;
    note(connection, error == UV_EOF ? "the other end closed the connection" : uv_strerror(error));
    weft_connection_close(connection, closed ? WEFT_E_LINK_CLOSED : WEFT_E_SYSTEM_CALL);
}

/* ---- Out ---- */

static void on_written(uv_write_t *request, int error)
{
    weft_connection *connection = request->handle->data;
    if (uv_is_closing(&connection->socket.handle)) {
        return;
    }
    connection->writing = false;
    connection->net->happened = true;
    if (error != 0) {
        fail(connection, error);
    }
}

/* gcc's analyzer takes what libuv was given for overwritten, and what it points to for lost. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

/* The first `skip` bytes of the spans are sent; copies what follows and lets libuv write it when
 * the socket takes it. Returns how much it copied, or libuv's error. */
static ssize_t write_rest(weft_connection *connection, const uv_buf_t *buffers, unsigned count,
                          size_t skip)
{
    size_t length = 0;
    if (connection->rest == NULL) {
        connection->rest = malloc(WEFT_NET_REST_BYTES_MAX);
        if (connection->rest == NULL) {
            return UV_ENOMEM;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        size_t skipped = skip < buffers[i].len ? skip : buffers[i].len;
        size_t room = WEFT_NET_REST_BYTES_MAX - length;
        size_t part = buffers[i].len - skipped < room ? buffers[i].len - skipped : room;
        memcpy(connection->rest + length, buffers[i].base + skipped, part);
        skip -= skipped;
        length += part;
    }
    uv_buf_t buffer = uv_buf_init((char *)connection->rest, (unsigned)length);
    int error = uv_write(&connection->write, &connection->socket.stream, &buffer, 1, on_written);
    if (error != 0) {
        return error;
    }
    connection->writing = connection->net->changed = true;
    return (ssize_t)length;
}

/* Sends or copies one chunk. Returns how many bytes, 0 if there is nothing, or libuv's error. */
static ssize_t send_chunk(weft_connection *connection)
{
    weft_span spans[WEFT_SPANS_MAX];
    uv_buf_t buffers[WEFT_SPANS_MAX];
    size_t total = 0;
    size_t count = weft_endpoint_send(connection->endpoint, connection->link, spans);
    if (count == 0) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        union {
            const void *data;
            char *base;
        } view = {.data = spans[i].data}; /* libuv knows no const; it only reads */
        buffers[i] = uv_buf_init(view.base, (unsigned)spans[i].length);
        total += spans[i].length;
    }
    ssize_t sent = uv_try_write(&connection->socket.stream, buffers, (unsigned)count);
    sent = sent == UV_EAGAIN ? 0 : sent;
    if (sent >= 0 && (size_t)sent < total) {
        ssize_t copied = write_rest(connection, buffers, (unsigned)count, (size_t)sent);
        sent = copied < 0 ? copied : sent + copied;
    }
    if (sent > 0) {
        weft_endpoint_sent(connection->endpoint, connection->link, (size_t)sent);
    }
    return sent;
}

/* Returns libuv's error, or 0. */
static int pump(weft_connection *connection)
{
    size_t total = 0;
    while (!connection->writing) {
        if (total >= WEFT_NET_PUMP_BYTES_MAX) {
            connection->net->more = true;
            break;
        }
        ssize_t sent = send_chunk(connection);
        if (sent <= 0) {
            return (int)sent;
        }
        total += (size_t)sent;
    }
    return 0;
}

/* The link is broken: what its endpoint still has to say is sent as far as the socket takes it. */
static void give_up(weft_connection *connection, weft_status status)
{
    (void)pump(connection);
    if (status != WEFT_E_CANCELLED) { /* a peer was asked, and has answered */
        note(connection, weft_status_text(status));
    }
    weft_connection_close(connection, status);
}

void weft_connection_service(weft_connection *connection)
{
    if (!connection->linked) {
        return;
    }
    weft_status status = weft_endpoint_link_status(connection->endpoint, connection->link);
    if (status < 0) {
        give_up(connection, status);
        return;
    }
    int error = pump(connection);
    if (error != 0) {
        fail(connection, error);
    }
}

bool weft_connection_waits(const weft_connection *connection)
{
    weft_span spans[WEFT_SPANS_MAX];
    return connection->linked &&
           (weft_endpoint_link_status(connection->endpoint, connection->link) < 0 ||
            (!connection->writing &&
             weft_endpoint_send(connection->endpoint, connection->link, spans) > 0));
}

/* ---- In ---- */

static void lend_input(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    weft_connection *connection = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(connection->net->input, WEFT_NET_INPUT_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    weft_connection *connection = stream->data;
    if (length < 0) {
        weft_endpoint_tick(connection->net, connection->endpoint);
        fail(connection, (int)length);
    }
    if (length <= 0) { /* 0: nothing to read after all */
        return;
    }
    connection->net->happened = true;
    weft_endpoint_tick(connection->net, connection->endpoint);
    weft_status status =
        weft_endpoint_receive(connection->endpoint, connection->link, buffer->base, (size_t)length);
    if (status < 0) {
        give_up(connection, status);
    } else if (connection->dialer != NULL) {
        weft_dialer_heard(connection->dialer);
    }
}

/* ---- The beginning ---- */

void weft_connection_start(weft_connection *connection)
{
    connection->net->happened = connection->net->changed = true;
    (void)uv_tcp_nodelay(&connection->socket.tcp, 1);
    (void)uv_tcp_keepalive(&connection->socket.tcp, 1, KEEPALIVE_S);
    weft_endpoint_tick(connection->net, connection->endpoint);
    weft_status status =
        weft_endpoint_link_open(connection->endpoint, connection->dialer, &connection->link);
    if (status != WEFT_OK) {
        note(connection, weft_status_text(status));
        weft_connection_close(connection, status);
        return;
    }
    connection->linked = true;
    int error = uv_read_start(&connection->socket.stream, lend_input, on_read);
    if (error != 0) {
        fail(connection, error);
    }
}

static void on_connected(uv_connect_t *request, int error)
{
    weft_connection *connection = request->handle->data;
    if (uv_is_closing(&connection->socket.handle)) {
        return;
    }
    if (error != 0) {
        fail(connection, error);
    } else {
        weft_connection_start(connection);
    }
}

int weft_connection_connect(weft_connection *connection, const struct sockaddr *address)
{
    connection->net->changed = true;
    int error =
        uv_tcp_connect(&connection->connect, &connection->socket.tcp, address, on_connected);
    if (error != 0) {
        fail(connection, error);
    }
    return error;
}
