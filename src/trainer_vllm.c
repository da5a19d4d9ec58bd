/* A trainer's push to receivers that are not weft's: plan, broadcasts in vLLM's order, base. They
 * do not answer, so neither the session's machine nor the protocol takes part. */
#include "detail.h"
#include "trainer_engine.h"

static weft_status refuse(weft_trainer *trainer, weft_status status, const char *text)
{
    return weft_detail_set(&trainer->detail, status, "%s", text);
}

static bool is_planned(const weft_trainer *trainer)
{
    return trainer->vllm != WEFT_VLLM_NONE;
}

weft_status weft_trainer_vllm_plan(weft_trainer *trainer, weft_kind kind, uint64_t version,
                                   const char **update_info, size_t *length)
{
    if (trainer == NULL || update_info == NULL || length == NULL ||
        (kind != WEFT_SPARSE && kind != WEFT_BASELINE)) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (trainer->transport == NULL) {
        return refuse(trainer, WEFT_E_TRANSPORT, "the trainer has no transport");
    }
    weft_status status = weft_trainer_plan_vllm(trainer, kind, version);
    if (status != WEFT_OK) {
        return status;
    }
    trainer->vllm = WEFT_VLLM_PLANNED;
    trainer->vllm_version = version;
    *update_info = trainer->plan.updates[0].document;
    *length = (size_t)trainer->plan.updates[0].document_bytes;
    return WEFT_OK;
}

weft_status weft_trainer_vllm_send(weft_trainer *trainer)
{
    if (trainer == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (trainer->vllm != WEFT_VLLM_PLANNED) {
        return refuse(trainer, WEFT_E_WRONG_STATE, "no plan waits to be sent");
    }
    weft_plan_load(&trainer->plan, 0, true, &trainer->load);
    if (trainer->plan.changed == 0) { /* nobody was told of an update */
        trainer->vllm = WEFT_VLLM_SENT;
        return WEFT_OK;
    }
    trainer->vllm = WEFT_VLLM_SENDING;
    trainer->moving = true;
    weft_status status = trainer->transport->begin(trainer->transport, &trainer->load);
    if (status != WEFT_OK) {
        trainer->vllm = WEFT_VLLM_FAILED;
        return refuse(trainer, status, weft_transport_text(trainer->transport));
    }
    return WEFT_OK;
}

weft_status weft_trainer_vllm_poll(weft_trainer *trainer)
{
    if (trainer == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (trainer->vllm == WEFT_VLLM_SENDING) {
        weft_poll poll = trainer->transport->poll(trainer->transport, NULL);
        if (poll == WEFT_POLL_AGAIN) {
            return WEFT_AGAIN;
        }
        trainer->moving = poll != WEFT_POLL_DONE;
        trainer->vllm = trainer->moving ? WEFT_VLLM_FAILED : WEFT_VLLM_SENT;
    }
    switch (trainer->vllm) {
    case WEFT_VLLM_SENT:
        return WEFT_OK;
    case WEFT_VLLM_FAILED:
        return refuse(trainer, WEFT_E_COLLECTIVE, weft_transport_text(trainer->transport));
    case WEFT_VLLM_NONE:
    case WEFT_VLLM_PLANNED:
    case WEFT_VLLM_SENDING:
        break;
    }
    return refuse(trainer, WEFT_E_WRONG_STATE, "nothing was sent");
}

weft_status weft_trainer_vllm_end(weft_trainer *trainer, bool kept)
{
    if (trainer == NULL) {
        return WEFT_E_INVALID_ARGUMENT;
    }
    if (!is_planned(trainer) || (kept && trainer->vllm != WEFT_VLLM_SENT)) {
        return refuse(trainer, WEFT_E_WRONG_STATE,
                      is_planned(trainer) ? "not all of it was sent" : "there is no plan");
    }
    if (trainer->moving) {
        weft_transport_settle(trainer->transport, trainer->timeout_ms);
        trainer->moving = false;
    }
    trainer->vllm = WEFT_VLLM_NONE;
    return weft_trainer_end_plan(trainer, kept, trainer->vllm_version);
}
