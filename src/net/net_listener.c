/* Accepts trainers for one worker. */
#include <stdlib.h>

#include "net.h"

#define BACKLOG 128

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* ---- Accept ---- */

void weft_listener_service(weft_listener *listener)
{
    if (!listener->waiting) {
        return;
    }
    weft_connection *connection =
        weft_connection_create(listener->net, listener->endpoint, NULL, "a trainer");
    if (connection == NULL) {
        return; /* the peer waits, and libuv accepts no other, until there is memory */
    }
    listener->waiting = false;
    listener->net->changed = true;
    int error = uv_accept(&listener->socket.stream, &connection->socket.stream);
    if (error == 0) {
        weft_connection_start(connection);
    } else {
        weft_net_say(listener->net, "a trainer could not be accepted: %s", uv_strerror(error));
        weft_connection_close(connection, WEFT_E_SYSTEM_CALL);
    }
}

static void on_incoming(uv_stream_t *stream, int error)
{
    weft_listener *listener = stream->data;
    if (error != 0) {
        weft_net_say(listener->net, "a trainer could not be accepted: %s", uv_strerror(error));
        return;
    }
    listener->waiting = true;
    weft_listener_service(listener);
}

/* ---- Listen ---- */

static int bind_and_listen(weft_listener *listener, const weft_address_list *list)
{
    int error = UV_EADDRNOTAVAIL;
    for (uint32_t i = 0; i < list->count && error != 0; i++) {
        error = uv_tcp_bind(&listener->socket.tcp, (const struct sockaddr *)&list->found[i], 0);
    }
    return error != 0 ? error : uv_listen(&listener->socket.stream, BACKLOG, on_incoming);
}

/* Numbers at once; a name is looked up in the call, which a server does once in its life. */
static int find(weft_net *net, const weft_address *address, weft_address_list *list)
{
    struct addrinfo hints = weft_address_hints();
    uv_getaddrinfo_t request;
    if (weft_address_is_numeric(address, list)) {
        return 0;
    }
    int error = uv_getaddrinfo(&net->loop, &request, NULL, address->host, address->port, &hints);
    if (error == 0) {
        weft_address_take(list, request.addrinfo);
        uv_freeaddrinfo(request.addrinfo);
    }
    return error;
}

static int port_of(const weft_listener *listener, uint16_t *port)
{
    struct sockaddr_storage bound;
    int length = sizeof bound;
    int error = uv_tcp_getsockname(&listener->socket.tcp, (struct sockaddr *)&bound, &length);
    if (error == 0) {
        *port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    }
    return error;
}

weft_status weft_listener_create(weft_net *net, weft_worker *worker, const weft_address *address,
                                 uint16_t *port)
{
    weft_address_list list = {.count = 0};
    uint16_t number = 0;
    weft_listener *listener = calloc(1, sizeof *listener);
    weft_endpoint *endpoint = listener != NULL ? weft_endpoint_acquire(net, worker, NULL) : NULL;
    if (endpoint == NULL) {
        free(listener);
        return WEFT_E_OUT_OF_MEMORY;
    }
    (void)uv_tcp_init(&net->loop, &listener->socket.tcp);
    listener->socket.handle.data = listener;
    listener->net = net;
    listener->endpoint = endpoint;
    net->changed = true;
    int error = find(net, address, &list);
    error = error != 0 ? error : bind_and_listen(listener, &list);
    error = error != 0 ? error : port_of(listener, &number);
    if (error != 0) {
        weft_net_say(net, "cannot listen on %s: %s", address->text, uv_strerror(error));
        weft_endpoint_release(net, endpoint);
        uv_close(&listener->socket.handle, on_closed);
        return WEFT_E_LISTEN;
    }
    listener->next = net->listeners;
    net->listeners = listener;
    if (port != NULL) {
        *port = number;
    }
    return WEFT_OK;
}

/* Its connections are closed first. */
void weft_listener_destroy(weft_listener *listener)
{
    weft_net *net = listener->net;
    weft_listener **at = &net->listeners;
    while (*at != listener) {
        at = &(*at)->next;
    }
    *at = listener->next;
    weft_endpoint_release(net, listener->endpoint);
    uv_close(&listener->socket.handle, on_closed);
}
