/* What holds of a core between any two steps, in the language of the proofs (ACSL):
 * spec/proofs.md. */
#ifndef WEFT_SRC_PROTOCOL_CONTRACT_H
#define WEFT_SRC_PROTOCOL_CONTRACT_H

#include "protocol.h"

/*@ // So many more actions have a place.
    predicate room(weft_actions actions, integer more) =
      actions.count + more <= WEFT_ACTIONS_MAX;

    // The first half of the clock's range: no deadline wraps.
    predicate is_time(integer now_ns) = 0 <= now_ns <= INT64_MAX;
@*/

/* ---- Worker ---- */

/*@ // What a worker can wait for in each state.
    predicate awaited(integer state, integer awaits) =
      state == WEFT_IDLE ? awaits == WEFT_AWAITS_NOTHING :
      state == WEFT_STARTED ? WEFT_AWAITS_UPDATE <= awaits <= WEFT_AWAITS_VALIDATION :
      state == WEFT_RECEIVING ? WEFT_AWAITS_UPDATE <= awaits <= WEFT_AWAITS_VERIFICATION :
      state == WEFT_APPLYING ? awaits == WEFT_AWAITS_WRITE :
      state == WEFT_FINISHED ? awaits == WEFT_AWAITS_DECISION || awaits == WEFT_AWAITS_PEERS :
      state == WEFT_FAILED && awaits == WEFT_AWAITS_UNDO;

    // Nothing of a session is left.
    predicate forgotten(weft_worker_core core) =
      core.awaits == WEFT_AWAITS_NOTHING && core.owner == WEFT_LINK_NONE && core.epoch == 0 &&
      core.cause == WEFT_OK && !core.streamed && !core.written && !core.paused &&
      core.update == 0 && core.updates == 0 && core.session_timeout_ms == 0 &&
      core.document_bytes == 0 && core.document_taken == 0 &&
      core.payload_bytes == 0 && core.payload_taken == 0 &&
      core.peers_bytes == 0 && core.peers_taken == 0 &&
      core.ranks == 0 && core.doubters == 0 && core.deadline_ns == 0;

    // A worker that can ask has a place among its peers.
    predicate placed(weft_worker_core core) =
      core.peers_bytes != 0 ==>
        core.peers_bytes <= WEFT_PEERS_BYTES_MAX && 1 <= core.last_rank < core.ranks &&
        core.ranks <= WEFT_WORKERS_MAX + 1;

    // No update is over the limit, and no piece reaches over an end.
    predicate counted(weft_worker_core core) =
      core.update <= WEFT_UPDATES_MAX &&
      (WEFT_AWAITS_DOCUMENT <= core.awaits <= WEFT_AWAITS_VERIFICATION ==>
         core.update < WEFT_UPDATES_MAX) &&
      core.document_taken <= core.document_bytes &&
      core.payload_taken <= core.payload_bytes && core.peers_taken <= core.peers_bytes;

    // What is written is what was announced, and all of it.
    predicate announced(weft_worker_core core) =
      (core.check_target ==> core.content_digest == core.target_digest) &&
      (core.kind == WEFT_BASELINE ==> core.changed == core.model_elements);

    predicate bounded(weft_worker_core core) =
      is_state(core.machine.state) && core.condition <= WEFT_LOST &&
      placed(core) && counted(core) &&
      core.epoch <= core.last_epoch &&
      (core.machine.state == WEFT_APPLYING || core.machine.state == WEFT_FINISHED ==>
         announced(core));

    // A worker in doubt has somebody to ask, and has not heard of all that they are in doubt too.
    predicate doubts(weft_worker_core core) =
      core.awaits == WEFT_AWAITS_PEERS ?
        core.peers_bytes != 0 && core.doubters + 2 < core.ranks :
      core.awaits == WEFT_AWAITS_UNDO || core.doubters == 0;

    predicate worker_sound(weft_worker_core core) =
      bounded(core) && doubts(core) && awaited(core.machine.state, core.awaits) &&
      (core.machine.state == WEFT_IDLE ==> forgotten(core));

    // A session runs that has not failed.
    predicate can_fail(weft_worker_core core) =
      is_state(core.machine.state) && core.machine.state != WEFT_IDLE &&
      core.machine.state != WEFT_FAILED;

    // Idle, or on the way there.
    predicate goes_back(weft_worker_core core) =
      core.machine.state == WEFT_IDLE || core.machine.state == WEFT_FAILED;

    predicate same_weights(weft_worker_core before, weft_worker_core after) =
      before.condition == after.condition &&
      before.version == after.version &&
      before.digest == after.digest;

    predicate lost(weft_worker_core core) =
      core.condition == WEFT_LOST && core.version == 0 && core.digest == 0;

    // What a session does not change.
    predicate same_worker(weft_worker_core before, weft_worker_core after) =
      before.model_elements == after.model_elements &&
      before.timeout_ms == after.timeout_ms &&
      before.last_epoch <= after.last_epoch;

    predicate same_epoch(weft_worker_core before, weft_worker_core after) =
      before.last_epoch == after.last_epoch &&
      before.last_rank == after.last_rank &&
      before.last_target_version == after.last_target_version &&
      before.last_target_digest == after.last_target_digest;

    // The weights are the announced version from here on.
    predicate kept(weft_worker_core before, weft_worker_core after) =
      before.machine.state == WEFT_FINISHED && after.machine.state == WEFT_IDLE &&
      after.condition == WEFT_INTACT &&
      after.last_outcome == WEFT_OUTCOME_COMMITTED &&
      after.version == before.target_version &&
      after.digest == before.content_digest;

    // A streamed baseline begins to write.
    predicate torn(weft_worker_core before, weft_worker_core after) =
      !before.streamed && after.streamed &&
      after.condition == WEFT_TORN && after.version == 0 &&
      after.digest == 0;

    // What the engine sees to: the updates of a session are all streamed or none is, and no element
    // is counted twice.
    predicate promised(weft_worker_core core, weft_input input) =
      (input.type == WEFT_INPUT_VALIDATED && input.status == WEFT_OK ==>
         core.update == 0 || core.streamed == input.streamed) &&
      (input.type == WEFT_INPUT_VERIFIED && input.status == WEFT_OK ==>
         core.changed + input.changed <= UINT64_MAX);
@*/

/* ---- Trainer ---- */

/*@ // What is recorded of a link that nobody is at.
    predicate empty(weft_trainer_slot slot) =
      !slot.open && !slot.known && !slot.refused && !slot.member && !slot.answered;

    logic integer waits(weft_trainer_slot slot) = slot.member != 0 && slot.answered == 0 ? 1 : 0;
    logic integer takes_part(weft_trainer_slot slot) = slot.member != 0 ? 1 : 0;

    // How many of the first n links have not answered, and how many are members.
    logic integer waiting(weft_trainer_slots slots, integer n) =
      n <= 0 ? 0 : waiting(slots, n - 1) + waits(slots[n - 1]);
    logic integer enrolled(weft_trainer_slots slots, integer n) =
      n <= 0 ? 0 : enrolled(slots, n - 1) + takes_part(slots[n - 1]);

    // But for its answer.
    predicate same_slot(weft_trainer_slot a, weft_trainer_slot b) =
      a.open == b.open && a.known == b.known && a.refused == b.refused && a.member == b.member;

    predicate undecided_phase(integer phase) = WEFT_PHASE_START <= phase <= WEFT_PHASE_APPLY;

    // Phase and state say the same.
    logic integer state_of(integer phase) =
      phase == WEFT_PHASE_NONE ? WEFT_IDLE :
      phase == WEFT_PHASE_START ? WEFT_STARTED :
      phase == WEFT_PHASE_PREPARE || phase == WEFT_PHASE_PAYLOAD ? WEFT_RECEIVING :
      phase == WEFT_PHASE_APPLY ? WEFT_APPLYING :
      phase == WEFT_PHASE_COMMIT ? WEFT_FINISHED : WEFT_FAILED;

    // Holds in the middle of a step, too.
    predicate trainer_bounded(weft_trainer_core core) =
      core.phase <= WEFT_PHASE_ABORT && is_state(core.machine.state) &&
      core.members <= WEFT_WORKERS_MAX &&
      enrolled(core.slots, WEFT_WORKERS_MAX) <= core.members &&
      core.epoch <= core.highest_epoch <= WEFT_EPOCH_MAX &&
      (WEFT_PHASE_START <= core.phase <= WEFT_PHASE_PAYLOAD ==> core.update < core.updates) &&
      (undecided_phase(core.phase) ==> core.committed == 0 && core.denied == 0) &&
      (core.phase != WEFT_PHASE_NONE ==> core.doubt_epoch == 0) &&
      (\forall integer k; 0 <= k < WEFT_WORKERS_MAX ==>
         (core.slots[k].answered ==> core.slots[k].member) &&
         (core.slots[k].member ==> core.slots[k].known));

    predicate trainer_in_step(weft_trainer_core core) =
      trainer_bounded(core) && core.machine.state == state_of(core.phase);

    predicate trainer_sound(weft_trainer_core core) =
      trainer_in_step(core) &&
      core.pending == waiting(core.slots, WEFT_WORKERS_MAX) &&
      (core.phase == WEFT_PHASE_NONE <==> core.pending == 0) &&
      (core.phase == WEFT_PHASE_NONE ==>
         \forall integer k; 0 <= k < WEFT_WORKERS_MAX ==> !core.slots[k].member) &&
      (core.phase == WEFT_PHASE_COMMIT ==>
         core.committed + core.denied + core.pending <= core.members);

    predicate same_trainer(weft_trainer_core before, weft_trainer_core after) =
      before.fingerprint == after.fingerprint && before.highest_epoch <= after.highest_epoch;

    predicate nobody_new(weft_trainer_core before, weft_trainer_core after) =
      \forall integer k; 0 <= k < WEFT_WORKERS_MAX && after.slots[k].member ==>
        before.slots[k].member;

    predicate same_base(weft_trainer_core before, weft_trainer_core after) =
      before.base_version == after.base_version && before.base_digest == after.base_digest;

    // The first word that a worker has committed.
    predicate moved_base(weft_trainer_core before, weft_trainer_core after) =
      after.base_version == before.target_version && after.base_digest == before.target_digest;

    // When everybody has answered.
    logic integer next_phase(weft_trainer_core core) =
      core.phase == WEFT_PHASE_START ? WEFT_PHASE_PREPARE :
      core.phase == WEFT_PHASE_PREPARE ? WEFT_PHASE_PAYLOAD :
      core.phase == WEFT_PHASE_PAYLOAD ?
        (core.update + 1 < core.updates ? WEFT_PHASE_PREPARE : WEFT_PHASE_APPLY) :
      core.phase == WEFT_PHASE_APPLY ? WEFT_PHASE_COMMIT : WEFT_PHASE_NONE;

    // The last answer of all, and it says that the content is the announced one.
    predicate decides(weft_trainer_core core, weft_input input) =
      core.phase == WEFT_PHASE_APPLY && core.pending == 1 &&
      input.type == WEFT_INPUT_MESSAGE && input.message.type == WEFT_MESSAGE_APPLIED &&
      input.message.digest == core.target_digest;

    // What the engine sees to: links are numbered below the limit, and a push begins when none
    // runs, an epoch is left and somebody is there.
    predicate told(weft_trainer_core core, weft_input input) =
      (input.type == WEFT_INPUT_MESSAGE || input.type == WEFT_INPUT_LINK_LOST ==>
         input.link < WEFT_WORKERS_MAX) &&
      (input.type == WEFT_INPUT_PUSH ==>
         core.phase == WEFT_PHASE_NONE && core.highest_epoch < WEFT_EPOCH_MAX &&
         input.message.updates > 0 &&
         \exists integer k; 0 <= k < WEFT_WORKERS_MAX && core.slots[k].known);
@*/

#endif
