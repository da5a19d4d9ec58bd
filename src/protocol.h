/* The protocol: what a worker and a trainer do about one input, as pure functions of plain data.
 *
 *      weft_worker_step (core, input, actions)        weft_trainer_step (core, input, actions)
 *
 * A core is a struct without pointers: copy it, compare it, hash it. A step changes the core and
 * gives a short list of actions, which the engine (worker.c, trainer.c) carries out in order.
 * Results of slow actions come back as inputs. No clock, no memory, no sockets: time is in the
 * input. The same steps are what runs, what is proved (protocol_contract.h) and what is
 * model-checked.
 *
 * The machine of session.h moves only in commit_event() of either file, and each move is an action
 * too, so that the engine can trace it and call hooks; nothing else can move a session. */
#ifndef WEFT_SRC_PROTOCOL_H
#define WEFT_SRC_PROTOCOL_H

#include "frame.h"
#include "session.h"
#include "weft.h"

#define WEFT_LINK_NONE UINT32_MAX /* nobody */
#define WEFT_LINK_LOCAL                                                                            \
    (UINT32_MAX - 1) /* a control plane of the process's own: weft_worker_start and its kin */
#define WEFT_LINK_ALL                                                                              \
    (UINT32_MAX - 2) /* trainer: every member of the session that has not failed */

#define WEFT_TRANSPORT_TCP  1 /* PAYLOAD frames on the control connection */
#define WEFT_TRANSPORT_NCCL 2 /* broadcasts; one empty PAYLOAD frame says that they begin */

#define WEFT_PEERS_BYTES_MAX 1048576u /* of the list of addresses: 256 for each worker */

/* ---- What happens ---- */

typedef enum weft_input_type {
    WEFT_INPUT_MESSAGE = 1, /* link, message: a frame's head and, where it has a text, its tail;
                               status of START: why its transport cannot be used, or WEFT_OK */
    WEFT_INPUT_LINK_LOST,   /* link, status: the connection ended */
    WEFT_INPUT_TIME,        /* only now_ns */
    /* worker: what became of an action */
    WEFT_INPUT_VALIDATED, /* status; streamed, changed: the document is valid and its staging
                             reserved */
    WEFT_INPUT_RECEIVED,  /* status: every announced byte of the payload is here */
    WEFT_INPUT_VERIFIED,  /* status; digest: of the change; changed */
    WEFT_INPUT_WRITTEN,   /* status: the new elements are in place */
    WEFT_INPUT_UNDONE,    /* status: the transport is quiet, and the old elements are in place */
    /* trainer: what its user wants */
    WEFT_INPUT_PUSH, /* message: kind, transport, target_version, target_digest, updates,
                        timeout_ms */
    WEFT_INPUT_STOP  /* status: ABORTED by the user, or what the engine could not do */
} weft_input_type;

typedef struct weft_input {
    uint8_t type; /* weft_input_type */
    bool streamed;
    bool gone;        /* with a status of a result: the device is lost, and what it held */
    bool unannounced; /* START by local control without a target digest: any content is right */
    uint32_t link;
    int32_t status; /* weft_status */
    uint64_t now_ns;
    uint64_t digest;
    uint64_t changed;
    weft_message message;
} weft_input;

/* ---- What is to be done ---- */

typedef enum weft_action_type {
    WEFT_ACTION_TRANSITION = 1, /* transition: the machine moved; trace it */
    WEFT_ACTION_SEND,  /* message type to link; weft_worker_compose or weft_trainer_compose fills it
                          in */
    WEFT_ACTION_DROP,  /* the message belongs to an epoch that is over: count it; status says why */
    WEFT_ACTION_CLOSE, /* link: its peer does not follow the protocol; status */
    WEFT_ACTION_TAKE,  /* worker: let the message's tail into document or payload */
    WEFT_ACTION_OPEN,  /* worker: memory for the document; a failure is VALIDATED with its status */
    WEFT_ACTION_TRANSFER, /* take part in the collective; worker: then RECEIVED; trainer: a failure
                              is STOP with its status */
    WEFT_ACTION_VERIFY,   /* worker: check, gather, digest; then VERIFIED */
    WEFT_ACTION_PAUSE,    /* worker: inference stands still from here */
    WEFT_ACTION_PUT,      /* worker: write; then WRITTEN */
    WEFT_ACTION_CANCEL,   /* nothing more is taken or sent; leave the collective */
    WEFT_ACTION_UNDO, /* worker: when the collective is left, replay the undo log if anything was
                              written; then UNDONE */
    WEFT_ACTION_COMMITTED, /* the new version is the version: tell the user; trainer: the session is
                              over */
    WEFT_ACTION_RELEASE,   /* worker: free what the session held */
    WEFT_ACTION_RESUME,    /* worker: inference goes on */
    WEFT_ACTION_FAILED,  /* the session ended by a fault and the clean-up is over: tell the user */
    WEFT_ACTION_ADVANCE, /* trainer: a worker has committed: bring the base to the new version */
    WEFT_ACTION_ASK      /* worker: in doubt: ask every peer again and again, until it is not */
} weft_action_type;

typedef struct weft_action {
    uint8_t type;    /* weft_action_type */
    uint8_t message; /* SEND: weft_message_type */
    uint8_t state;   /* SEND of FAILED: where the fault was found */
    uint8_t outcome; /* SEND of OUTCOME: weft_outcome */
    weft_transition transition;
    uint32_t link;
    int32_t status;
    uint64_t epoch; /* SEND: that the message belongs to; TRANSITION, COMMITTED, FAILED, PAUSE,
                       RESUME: the session's */
} weft_action;

#define WEFT_ACTIONS_MAX 16
typedef struct weft_actions {
    uint32_t count;
    weft_action list[WEFT_ACTIONS_MAX];
} weft_actions;

/* ---- Worker ---- */

/* What a worker waits for; finer than the state. */
typedef enum weft_awaits {
    WEFT_AWAITS_NOTHING = 0,
    WEFT_AWAITS_UPDATE,       /* PEERS, the first or next UPDATE, or APPLY after the last one */
    WEFT_AWAITS_DOCUMENT,     /* pieces of the document */
    WEFT_AWAITS_VALIDATION,   /* VALIDATED */
    WEFT_AWAITS_PAYLOAD,      /* pieces of the payload, or the word that the collective begins */
    WEFT_AWAITS_TRANSFER,     /* RECEIVED: the collective runs */
    WEFT_AWAITS_VERIFICATION, /* RECEIVED, then VERIFIED */
    WEFT_AWAITS_WRITE,        /* WRITTEN */
    WEFT_AWAITS_DECISION,     /* COMMIT or ABORT */
    WEFT_AWAITS_PEERS,        /* OUTCOME: in doubt */
    WEFT_AWAITS_UNDO          /* UNDONE */
} weft_awaits;

typedef struct weft_worker_core {
    /* what it is and holds; lives as long as the worker */
    uint64_t model_elements;
    uint64_t version, digest; /* 0 unless intact */
    uint64_t last_epoch;      /* highest seen */
    uint32_t timeout_ms;      /* its own; a session may ask for less */
    uint8_t condition;        /* weft_condition */
    uint8_t last_outcome;     /* weft_outcome of last_epoch */
    uint32_t last_rank;       /* in the session of last_epoch; 0: it heard of its end only */
    uint64_t last_target_version, last_target_digest; /* of that session */
    /* the session; zero when idle */
    weft_machine machine;
    uint8_t awaits;    /* weft_awaits */
    uint8_t kind;      /* weft_kind */
    uint8_t transport; /* WEFT_TRANSPORT_ */
    uint8_t failed_in; /* weft_state in which the fault was found */
    bool check_target; /* the target's digest was announced */
    bool streamed;     /* a baseline that is written as it arrives */
    bool written;      /* the weights may differ from the base */
    bool paused;
    uint32_t owner; /* link that the session belongs to */
    int32_t cause;  /* weft_status of the fault; first one wins */
    uint32_t session_timeout_ms;
    uint32_t update,
        updates; /* next or present update; how many (0: as many as come, local control only) */
    uint64_t epoch;
    uint64_t deadline_ns; /* of the present state */
    uint64_t target_version, target_digest;
    uint64_t content_digest; /* of the base, plus the changes verified so far */
    uint64_t changed;        /* elements verified so far */
    uint64_t document_bytes, document_taken;
    uint64_t payload_bytes, payload_taken;
    uint64_t payload_digest;
    uint32_t ranks;                                  /* of the session, the trainer's included */
    uint32_t doubters;                               /* peers that were in doubt when asked ... */
    uint64_t peers_bytes, peers_taken;               /* of the list of addresses; 0: no peers */
    uint64_t in_doubt[(WEFT_WORKERS_MAX + 63) / 64]; /* ... bit rank - 1 of each */
} weft_worker_core;

void weft_worker_core_init(weft_worker_core *core, uint64_t model_elements, uint64_t version,
                           uint64_t digest, uint32_t timeout_ms);
void weft_worker_step(weft_worker_core *core, const weft_input *input, weft_actions *actions);
/* The message of a SEND action. message->tail is zero: the engine adds a text where it has one. */
void weft_worker_compose(const weft_worker_core *core, const weft_action *action,
                         weft_message *message);

/* ---- Trainer ---- */

/* What a trainer waits for: one answer of every member. */
typedef enum weft_phase {
    WEFT_PHASE_NONE = 0,
    WEFT_PHASE_START,   /* sent START, wait for STARTED */
    WEFT_PHASE_PREPARE, /* sent UPDATE and document, wait for READY */
    WEFT_PHASE_PAYLOAD, /* sends the payload, waits for STAGED */
    WEFT_PHASE_APPLY,   /* sent APPLY, wait for APPLIED */
    WEFT_PHASE_COMMIT,  /* decided; sent COMMIT, wait for COMMITTED */
    WEFT_PHASE_ABORT    /* sent ABORT, wait for ABORTED or FAILED */
} weft_phase;

/* What the trainer knows of the worker on a link; all false: nobody is there. */
typedef struct weft_trainer_slot {
    bool open;     /* connected */
    bool known;    /* said HELLO, and its model is ours */
    bool refused;  /* said HELLO, and its model is not ours */
    bool member;   /* takes part in the session and has not failed */
    bool answered; /* has answered in the present phase */
} weft_trainer_slot;

typedef weft_trainer_slot weft_trainer_slots[WEFT_WORKERS_MAX]; /* one for each link */

typedef struct weft_trainer_core {
    uint64_t fingerprint;
    uint64_t base_version, base_digest; /* a version that some worker committed, or the first one */
    uint64_t highest_epoch;             /* used or heard of */
    uint64_t doubt_epoch; /* decided, and every link was lost before anybody confirmed; 0: none */
    /* the session; the last one's when idle */
    weft_machine machine;
    uint8_t phase;     /* weft_phase */
    uint8_t kind;      /* weft_kind */
    uint8_t transport; /* WEFT_TRANSPORT_ */
    uint8_t outcome;   /* weft_outcome */
    int32_t cause;     /* weft_status; WEFT_OK while all goes well */
    uint32_t culprit;  /* link that the cause is about, or WEFT_LINK_NONE */
    uint32_t timeout_ms;
    uint32_t members, pending;  /* took part; have not answered yet */
    uint32_t committed, denied; /* have confirmed the commit; have said that they went back */
    uint32_t update, updates;
    uint64_t epoch;
    uint64_t deadline_ns;
    uint64_t target_version, target_digest;
    weft_trainer_slots slots;
} weft_trainer_core;

void weft_trainer_core_init(weft_trainer_core *core, uint64_t fingerprint, uint64_t base_version,
                            uint64_t base_digest);
/* A connection was made; HELLO is expected next. link must be below WEFT_WORKERS_MAX and not open.
 */
void weft_trainer_core_open(weft_trainer_core *core, uint32_t link);
void weft_trainer_step(weft_trainer_core *core, const weft_input *input, weft_actions *actions);
/* The message of a SEND action; the engine adds document_bytes, payload_bytes and payload_digest to
 * UPDATE, and group, rank and ranks to START. */
void weft_trainer_compose(const weft_trainer_core *core, const weft_action *action,
                          weft_message *message);
/* The base is another one by now: receivers that know nothing of this protocol hold it. Only when
 * idle. */
void weft_trainer_core_rebase(weft_trainer_core *core, uint64_t version, uint64_t digest);
/* What the push in doubt would have led to is not here any more: no HELLO can confirm it. */
void weft_trainer_core_forget_doubt(weft_trainer_core *core);
/* How many workers a push would reach now. */
uint32_t weft_trainer_core_known(const weft_trainer_core *core);

#endif
