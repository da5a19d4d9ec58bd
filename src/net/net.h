/* The driver's parts and who owns what. One net drives any number of endpoints from one thread.
 *
 *      net ─┬─ endpoint      a worker or a trainer, and what drives it is counted
 *           ├─ listener      a socket that accepts trainers for a worker
 *           ├─ dialer        an address that a trainer wants to be connected to, now and later
 *           └─ connection    one TCP stream and one link of an endpoint
 *
 * Callbacks of libuv only feed bytes and note what happened. Everything else is done by one pass
 * over these lists, before and after libuv runs (net.c): tick, pump, close what is broken, dial
 * again. So there is one place where output leaves, and an input on one link may cause output on
 * all.
 *
 * An object that has a handle of libuv's lives until the handle's close callback; it leaves its
 * list, and loses its link, when the closing begins. */
#ifndef WEFT_SRC_NET_NET_H
#define WEFT_SRC_NET_NET_H

#include <netdb.h>
#include <uv.h>

#include "weft.h"

#define WEFT_NET_INPUT_BYTES    (256u << 10) /* read at once, for all connections */
#define WEFT_NET_PUMP_BYTES_MAX (4u << 20)   /* sent on one connection before the others' turn */
#define WEFT_NET_REST_BYTES_MAX (68u << 10)  /* copied when a socket takes only a part of a chunk */
#define WEFT_NET_TEXT_BYTES     1024u

/* ---- address ---- */

#define WEFT_HOST_BYTES        256u
#define WEFT_ADDRESS_BYTES     (WEFT_HOST_BYTES + 10u) /* [host]:port and a NUL */
#define WEFT_ADDRESS_FOUND_MAX 8u                      /* of one name that are tried */

typedef struct weft_address {
    char text[WEFT_ADDRESS_BYTES]; /* as it was written */
    char host[WEFT_HOST_BYTES];    /* without brackets */
    char port[6];
    uint16_t number; /* the port */
} weft_address;

typedef struct weft_address_list {
    uint32_t count;
    struct sockaddr_storage found[WEFT_ADDRESS_FOUND_MAX];
} weft_address_list;

/* Returns: ADDRESS. */
weft_status weft_address_parse(weft_address *address, const char *text);
/* True, and a list of one, if the host is a number and nobody has to be asked. */
bool weft_address_is_numeric(const weft_address *address, weft_address_list *list);
void weft_address_take(weft_address_list *list, const struct addrinfo *found);
/* What a look-up should find. */
struct addrinfo weft_address_hints(void);

/* ---- endpoint ---- */

struct weft_dialer;

typedef struct weft_endpoint {
    struct weft_endpoint *next;
    weft_worker *worker; /* one of these two */
    weft_trainer *trainer;
    uint32_t users; /* listeners and dialers */
    uint64_t turn;  /* of the net, in which it was told the time */
} weft_endpoint;

/* Finds or makes the endpoint of this handle, and counts a user; NULL if there is no memory. */
weft_endpoint *weft_endpoint_acquire(weft_net *net, weft_worker *worker, weft_trainer *trainer);
/* Without users its handle is not touched any more. */
void weft_endpoint_release(weft_net *net, weft_endpoint *endpoint);
/* Tells the time, once in each turn of the net. */
void weft_endpoint_tick(weft_net *net, weft_endpoint *endpoint);
uint64_t weft_endpoint_next_ns(const weft_endpoint *endpoint);
bool weft_endpoint_in_session(const weft_endpoint *endpoint);
/* Opens the link of a connection that was accepted (dialer NULL) or made. */
weft_status weft_endpoint_link_open(weft_endpoint *endpoint, const struct weft_dialer *dialer,
                                    uint32_t *link);
void weft_endpoint_link_close(weft_endpoint *endpoint, uint32_t link, weft_status status);
weft_status weft_endpoint_link_status(const weft_endpoint *endpoint, uint32_t link);
weft_status weft_endpoint_receive(weft_endpoint *endpoint, uint32_t link, const void *bytes,
                                  size_t length);
size_t weft_endpoint_send(weft_endpoint *endpoint, uint32_t link, weft_span spans[WEFT_SPANS_MAX]);
void weft_endpoint_sent(weft_endpoint *endpoint, uint32_t link, size_t length);

/* Dials the peers that a worker in doubt wants to ask. */
void weft_endpoint_service(weft_net *net, weft_endpoint *endpoint);

/* ---- connection ---- */

typedef union weft_tcp { /* libuv's view of one handle from three sides */
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
} weft_tcp;

typedef struct weft_connection {
    weft_tcp socket;
    uv_connect_t connect;
    uv_write_t write;
    weft_net *net;
    struct weft_connection *previous, *next;
    weft_endpoint *endpoint;
    struct weft_dialer *dialer; /* NULL: accepted */
    uint32_t link;
    bool linked;   /* link is open */
    bool writing;  /* rest is on its way */
    uint8_t *rest; /* allocated when it is first needed */
    char peer[WEFT_ADDRESS_BYTES];
} weft_connection;

/* A connection without a peer yet; NULL if there is no memory. dialer and peer may be NULL. */
weft_connection *weft_connection_create(weft_net *net, weft_endpoint *endpoint,
                                        struct weft_dialer *dialer, const char *peer);
/* Begins to connect; on a negative answer (libuv's) the connection is closed already. */
int weft_connection_connect(weft_connection *connection, const struct sockaddr *address);
/* The stream is up: opens the link and begins to read, or closes. */
void weft_connection_start(weft_connection *connection);
/* Closes it if its link is broken; otherwise sends what the peer takes. */
void weft_connection_service(weft_connection *connection);
/* Something waits that the next service would do. */
bool weft_connection_waits(const weft_connection *connection);
/* Closes link and socket; the memory goes with the close callback. */
void weft_connection_close(weft_connection *connection, weft_status status);

/* ---- dialer ---- */

typedef struct weft_lookup { /* outlives its dialer if that goes while a resolver works */
    uv_getaddrinfo_t request;
    struct weft_dialer *dialer;
} weft_lookup;

typedef struct weft_dialer {
    struct weft_dialer *next;
    weft_net *net;
    uint32_t rank; /* of the peer that a worker in doubt asks, once; 0: a trainer's dialer */
    bool ended;    /* such a one has had its connection, or could not make it */
    weft_endpoint *endpoint;
    weft_address address;
    weft_address_list list; /* what the address means, in the present attempt */
    uint32_t tried;         /* of these */
    weft_lookup *lookup;
    weft_connection *connection; /* being made, or made */
    uint32_t backoff_ms;
    uint64_t due_ns; /* of the next attempt, when there is neither look-up nor connection */
    char text[256];  /* why the last attempt failed; "" if it did not */
} weft_dialer;

weft_dialer *weft_dialer_create(weft_net *net, weft_trainer *trainer, const weft_address *address);
/* For one connection of a worker in doubt to the peer of this rank; ends by itself. */
weft_dialer *weft_dialer_create_once(weft_net *net, weft_worker *worker, uint32_t rank,
                                     const weft_address *address);
/* Closes its connection, which closes the link, and frees it. */
void weft_dialer_destroy(weft_dialer *dialer);
weft_dialer *weft_dialer_find(weft_net *net, const weft_trainer *trainer, const char *address);
/* Begins an attempt when one is due. */
void weft_dialer_service(weft_dialer *dialer);
uint64_t weft_dialer_next_ns(const weft_dialer *dialer);
/* The peer speaks the protocol: the next loss begins with a short pause again. */
void weft_dialer_heard(weft_dialer *dialer);
/* Its connection is gone or was not made. */
void weft_dialer_lost(weft_dialer *dialer);

/* ---- listener ---- */

typedef struct weft_listener {
    weft_tcp socket;
    weft_net *net;
    struct weft_listener *next;
    weft_endpoint *endpoint;
    bool waiting; /* a peer waits to be accepted */
} weft_listener;

/* Returns: LISTEN, OUT_OF_MEMORY. */
weft_status weft_listener_create(weft_net *net, weft_worker *worker, const weft_address *address,
                                 uint16_t *port);
void weft_listener_service(weft_listener *listener);
void weft_listener_destroy(weft_listener *listener);

/* ---- net ---- */

struct weft_net {
    uv_loop_t loop;
    uv_timer_t timer; /* ends a wait */
    weft_endpoint *endpoints;
    weft_listener *listeners;
    weft_dialer *dialers;
    weft_connection *connections;
    bool running;  /* within weft_net_poll: libuv is not reentrant */
    bool happened; /* something did, so that a wait is over */
    bool more;     /* a connection was stopped by WEFT_NET_PUMP_BYTES_MAX */
    bool changed;  /* libuv has to run once more before its descriptor tells the truth */
    bool closed;   /* a link closed, which may have caused output on others */
    uint64_t turn;
    char text[WEFT_NET_TEXT_BYTES];
    char input[WEFT_NET_INPUT_BYTES]; /* what one read callback feeds, and then is done with */
};

void weft_net_say(weft_net *net, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
