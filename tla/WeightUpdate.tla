---- MODULE WeightUpdate ----
(* The protocol of spec/protocol.md as src/protocol_worker.c and src/protocol_trainer.c run it: one trainer, its workers, the
   connections between them, and what can go wrong. One action is one input of weft_worker_step or weft_trainer_step and
   everything that the engine does with the actions that the step gives; tests/graph.c explores the C steps in the same
   world, and the two graphs are compared edge by edge (README.md).

   How the C code's values are told here:
     version, digest   one number, 1 for the first version and n + 1 for what the n-th push leads to; 0 for torn or lost
     status            "none", "aborted" (the trainer's word), "fault" (anything else)
     document, payload one frame each; what is in them is right, or is found wrong by validation, transfer or verification
     time              a deadline may pass at any moment (Deadline actions); no clock
     a trainer's push  of any kind, with any number of updates, whenever no session runs

   A connection is two queues. It breaks at one end first: what is on its way there is lost, what was sent from there before
   still arrives, what is sent afterwards to the end that is gone is lost, and later the other end notices too. When the
   trainer's end is the one that broke, a new connection may be made before the worker has noticed: the worker then has two,
   and what is left on the past one still arrives. (No more than two: nobody connects a third time that early.) *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
  Workers,        \* who may take part
  Sessions,       \* how many pushes, over all lives of the trainer
  Updates,        \* numbers of updates that a session may have
  Kinds,          \* {"sparse", "baseline"} or a part of it
  Policies,       \* how a worker takes a baseline: {FALSE} staged, {TRUE} streamed, {FALSE, TRUE} either
  Transport,      \* "tcp": PAYLOAD carries the payload; "nccl": PAYLOAD says go, and a collective carries it
  PeerResolution, \* TRUE: addresses come with START, and a worker in doubt asks its peers; FALSE: it goes back, unconfirmed
  MaxFaults,      \* how many faults of the kinds in Counted
  Counted,        \* kinds of faults that are counted
  Free            \* kinds of faults that happen at any time, uncounted

FaultKinds == {"cut", "half", "worker", "trainer", "deadline", "late", "device", "undo", "stop", "hang", "transfer"}

VARIABLES
  worker,  \* a weft_worker_core each
  device,  \* a worker's weights, what the device owes it, staging, and whether inference stands still
  link,    \* the connection of each worker: ends that are open, frames to the worker (down) and to the trainer (up); half: its
           \* end of the past one is open too, with frames left
  trainer, \* the weft_trainer_core
  told,    \* what each worker's hooks have said of each session, in its present life
  kept,    \* versions that some worker has committed, in any life
  decided, \* versions that a trainer has decided to commit, in any life
  pushes,  \* how many
  faults   \* how many may still come

vars == <<worker, device, link, trainer, told, kept, decided, pushes, faults>>

Table == INSTANCE SessionTable

ASSUME Transport \in {"tcp", "nccl"} /\ Counted \cup Free \subseteq FaultKinds /\ Counted \cap Free = {}

Versions == 1 .. Sessions + 1
Nothing == 0  \* version of a worker that is torn or lost; content of weights that are half written

Legal(state, event) == Table!Legal(state, event)
Moved(state, event) ==
  IF Assert(Legal(state, event), <<"no such row in the table", state, event>>) THEN Table!Next(state, event) ELSE state
CanFail(state) == Legal(state, "fault")

May(kind) == kind \in Free \/ (kind \in Counted /\ faults > 0)
Spend(kind) == May(kind) /\ faults' = (IF kind \in Counted THEN faults - 1 ELSE faults)

\* Nothing is on its way, nothing is owed, nothing waits to be noticed: only clocks can end a session now.
Quiet ==
  \A i \in Workers :
    /\ link[i].here = link[i].there
    /\ ~link[i].half /\ link[i].down = <<>> /\ link[i].up = <<>>
    /\ device[i].owes \in {"none", "nothing, ever"}

\* A deadline passes: at any moment ("deadline"), or when all is quiet ("late", for long deadlines).
TimePasses ==
  \/ Spend("deadline")
  \/ Quiet /\ ~May("deadline") /\ Spend("late")

(***************************************************************************)
(* A worker: src/protocol_worker.c                                         *)
(***************************************************************************)

\* What forget_session leaves of the session's fields.
NoSession ==
  [awaits |-> "nothing", kind |-> "none", streamed |-> FALSE, written |-> FALSE, paused |-> FALSE, owner |-> "nobody",
   cause |-> "none", update |-> 0, updates |-> 0, epoch |-> 0, target |-> 0, right |-> TRUE,
   peers |-> {}, doubters |-> {}]

\* A worker process that starts holds the first version, and knows of no epoch.
NewWorker == NoSession @@ [state |-> Table!InitialState, version |-> 1, condition |-> "intact", last |-> 0, outcome |-> "none"]
NewDevice == [weights |-> 1, owes |-> "none", staging |-> FALSE]

\* A step in the making: the worker, its device, what it sends, what its hooks say, and the records of its trace.
At(i) == [w |-> worker[i], d |-> device[i], out |-> <<>>, told |-> told[i], log |-> <<>>]

\* What the engine's trace hook says of a step, in order. Emits is TRUE here: the model does not look at it, Trace.tla does.
Logged(s, record) == [s EXCEPT !.log = Append(@, record)]
Emits(process, s) == TRUE

\* A frame on a link. On the past one there is nobody to hear it.
Answer(s, to, type, epoch, update) ==
  LET frame == [type |-> type, epoch |-> epoch, update |-> update]
      said == Logged(s, [kind |-> "SENT", to |-> to, frame |-> frame])
  IN IF to = "now" THEN [said EXCEPT !.out = Append(@, frame)] ELSE IF to = "past" THEN said ELSE s

\* A frame of an epoch that is over moves nothing.
Drop(s) == Logged(s, [kind |-> "DROPPED"])

\* commit_event: the only way that a state moves.
Moves(from, event, epoch, cause) ==
  [kind |-> "TRANSITION", from |-> from, event |-> event, to |-> Moved(from, event), epoch |-> epoch, cause |-> cause]
Commit(s, event) ==
  Logged([s EXCEPT !.w.state = Moved(@, event)], Moves(s.w.state, event, s.w.epoch, s.w.cause))

\* What an undo restores: what was there before the first write.
Before(w) == IF w.condition = "intact" THEN w.version ELSE Nothing

\* reset: the clean-up is over, whatever came of it.
Reset(s) ==
  LET w == s.w
      idle == Commit(s, "reset")
      said == Answer(idle, w.owner, IF w.cause = "aborted" THEN "ABORTED" ELSE "FAILED", w.epoch, 0)
  IN [said EXCEPT !.w = NoSession @@ @, !.d.staging = FALSE, !.told[w.target] = w.outcome]

LoseWeights(s) == [s EXCEPT !.w.condition = "lost", !.w.version = Nothing]

\* fail: the cause is recorded and the transport cancelled; then the undo runs, where something was written. A collective
\* that runs has to be cancelled first, which takes its time, as an undo does.
Fail(s, cause, outcome) ==
  LET w == s.w
      failed == Commit([s EXCEPT !.w.outcome = outcome, !.w.cause = cause, !.d.owes = "none"], "fault")
      undo == w.written /\ ~w.streamed
  IN IF undo \/ w.awaits = "transfer"
     THEN [failed EXCEPT !.w.awaits = "undo", !.d.owes = "undone", !.d.weights = IF undo THEN Nothing ELSE @]
     ELSE Reset(failed)

\* fault: a worker that has finished may be overruled by the trainer's own word only.
Fault(s, cause) ==
  LET doubt == s.w.state = "finished" /\ cause # "aborted"
  IN Fail(s, cause, IF doubt THEN "unconfirmed" ELSE "aborted")

\* start_refusal, but for what no trainer sends.
Refused(w, m) ==
  \/ w.state # "idle"
  \/ m.epoch <= w.last
  \/ w.condition = "lost"
  \/ m.kind = "sparse" /\ (w.condition = "torn" \/ m.base # w.version)

OnStart(s, from, m) ==
  IF s.w.owner = from THEN IF CanFail(s.w.state) THEN Fault(s, "fault") ELSE Drop(s)
  ELSE IF Refused(s.w, m) THEN Answer(s, from, "FAILED", m.epoch, 0)
  ELSE LET agreed == [s EXCEPT !.w.epoch = m.epoch, !.w.last = m.epoch, !.w.outcome = "undecided", !.w.owner = from,
                               !.w.kind = m.kind, !.w.updates = m.updates, !.w.target = m.target,
                               !.w.awaits = "update", !.w.peers = m.peers]
       IN Answer(Commit(agreed, "start"), from, "STARTED", m.epoch, 0)

\* on_foreign_message: the frame is not of a session that runs here.
OnForeign(s, from, m) ==
  LET idle == s.w.state = "idle"
      over == IF idle THEN m.epoch <= s.w.last ELSE m.epoch < s.w.epoch
  IN IF idle /\ m.type = "ABORT" /\ m.epoch >= s.w.last THEN
       LET committed == m.epoch = s.w.last /\ s.w.outcome = "committed"
           new == m.epoch > s.w.last
           noted == IF new THEN [s EXCEPT !.w.last = m.epoch, !.w.outcome = "aborted", !.told[m.target] = "aborted"] ELSE s
       IN Answer(noted, from, IF committed THEN "COMMITTED" ELSE "ABORTED", m.epoch, 0)
     ELSE IF over THEN Drop(s)
     ELSE Answer(s, from, "FAILED", m.epoch, 0)

OnUpdate(s, m) ==
  IF s.w.awaits # "update" \/ s.w.update = s.w.updates \/ m.update # s.w.update THEN Fault(s, "fault")
  ELSE [s EXCEPT !.w.awaits = "document", !.d.staging = TRUE]

OnDocument(s, m) ==
  IF s.w.awaits # "document" \/ m.update # s.w.update THEN Fault(s, "fault")
  ELSE [s EXCEPT !.w.awaits = "validation", !.d.owes = "validated"]

OnPayload(s, m) ==
  IF s.w.awaits # "payload" \/ m.update # s.w.update THEN Fault(s, "fault")
  ELSE [s EXCEPT !.w.awaits = IF Transport = "tcp" THEN "verification" ELSE "transfer", !.d.owes = "received"]

OnApply(s, m) ==
  IF s.w.state # "receiving" \/ s.w.awaits # "update" \/ s.w.update # s.w.updates THEN Fault(s, "fault")
  ELSE LET applying == Commit(s, "apply") IN
       IF s.w.streamed
       THEN Answer([Commit(applying, "applied") EXCEPT !.w.awaits = "decision"], s.w.owner, "APPLIED", s.w.epoch, 0)
       ELSE [applying EXCEPT !.w.awaits = "write", !.w.paused = TRUE, !.w.written = TRUE,
                             !.d.owes = "written", !.d.weights = Nothing]

\* on_commit; who has learnt of it from a peer has nobody to answer.
Keep(s) ==
  LET w == s.w
      done == Commit([s EXCEPT !.w.condition = "intact", !.w.version = w.target, !.w.outcome = "committed"], "commit")
      said == Answer(done, w.owner, "COMMITTED", w.epoch, 0)
  IN [said EXCEPT !.w = NoSession @@ @, !.d.staging = FALSE, !.told[w.target] = "committed"]

OnCommit(s, m) == IF s.w.awaits # "decision" THEN Fault(s, "fault") ELSE Keep(s)

\* on_session_message
OnSession(s, m) ==
  CASE m.type = "UPDATE" -> OnUpdate(s, m)
    [] m.type = "DOCUMENT" -> OnDocument(s, m)
    [] m.type = "PAYLOAD" -> OnPayload(s, m)
    [] m.type = "APPLY" -> OnApply(s, m)
    [] m.type = "COMMIT" -> OnCommit(s, m)
    [] m.type = "ABORT" -> Fault(s, "aborted")

\* on_message: whose frame is it?
OnMessage(s, from, m) ==
  IF m.type = "START" THEN OnStart(s, from, m)
  ELSE IF s.w.state = "idle" \/ m.epoch # s.w.epoch THEN OnForeign(s, from, m)
  ELSE IF s.w.owner # from THEN Answer(s, from, "FAILED", m.epoch, 0)
  ELSE IF ~CanFail(s.w.state) THEN Drop(s)
  ELSE IF s.w.awaits = "peers" /\ m.type # "ABORT" THEN Drop(s)  \* in doubt: a commit is its peers' to tell
  ELSE OnSession(s, m)

\* Who asks its peers, once it has waited long enough for its trainer: their addresses came with START.
Doubts(w) == w.state = "finished" /\ w.awaits = "decision" /\ w.peers # {}

\* go_back: nobody has committed, and nobody will.
GoBack(s) == Fail(s, "fault", "aborted")

\* ask: who is alone in its session knows it at once.
Ask(s) == IF Cardinality(s.w.peers) = 1 THEN GoBack(s) ELSE [s EXCEPT !.w.awaits = "peers"]

(***************************************************************************)
(* A worker's actions                                                      *)
(***************************************************************************)

\* Worker i is now what the step s made of it; `left` is its link, from which a frame may have been taken.
Becomes(i, s, left) ==
  /\ worker' = [worker EXCEPT ![i] = s.w]
  /\ device' = [device EXCEPT ![i] = s.d]
  /\ told' = [told EXCEPT ![i] = s.told]
  /\ kept' = kept \cup {v \in Versions : s.told[v] = "committed"}
  /\ link' = [link EXCEPT ![i] = [left EXCEPT !.up = IF left.there THEN @ \o s.out ELSE @]]
  /\ Emits(i, s)
  /\ UNCHANGED <<trainer, decided, pushes>>

DeliverNow(i, type) ==
  /\ link[i].down # <<>> /\ Head(link[i].down).type = type
  /\ Becomes(i, OnMessage(At(i), "now", Head(link[i].down)), [link[i] EXCEPT !.down = Tail(@)])
DeliverPast(i, type) ==
  /\ link[i].past # <<>> /\ Head(link[i].past).type = type
  /\ Becomes(i, OnMessage(At(i), "past", Head(link[i].past)), [link[i] EXCEPT !.past = Tail(@)])
Deliver(i, type) == DeliverNow(i, type) \/ DeliverPast(i, type)

\* A frame arrives at worker i: WEFT_INPUT_MESSAGE, one action for each type.
DeliverStart(i) == Deliver(i, "START") /\ UNCHANGED faults
DeliverUpdate(i) == Deliver(i, "UPDATE") /\ UNCHANGED faults
DeliverDocument(i) == Deliver(i, "DOCUMENT") /\ UNCHANGED faults
DeliverPayload(i) == Deliver(i, "PAYLOAD") /\ UNCHANGED faults
DeliverApply(i) == Deliver(i, "APPLY") /\ UNCHANGED faults
DeliverCommit(i) == Deliver(i, "COMMIT") /\ UNCHANGED faults
DeliverAbort(i) == Deliver(i, "ABORT") /\ UNCHANGED faults

\* The device or the transport has done what it owed (VALIDATED, RECEIVED, VERIFIED, WRITTEN, UNDONE with WEFT_OK).
Result(i, owed, s) ==
  /\ device[i].owes = owed
  /\ Becomes(i, [s EXCEPT !.d.owes = IF @ = owed THEN "none" ELSE @], link[i])

\* VALIDATED: the document is valid, staging is reserved. A baseline that is streamed ends the old content here.
Validated(i) == \E streamed \in Policies :
  /\ worker[i].kind = "sparse" => streamed = (CHOOSE p \in Policies : TRUE)  \* a sparse session has no policy
  /\ worker[i].update > 0 /\ worker[i].kind = "baseline" => streamed = worker[i].streamed
  /\ LET s == At(i)
         torn == streamed /\ s.w.kind = "baseline" /\ ~s.w.streamed
         more == [Commit(s, "update") EXCEPT !.w.awaits = "payload"]
         stream == [more EXCEPT !.w.streamed = TRUE, !.w.written = TRUE, !.w.paused = TRUE, !.w.condition = "torn",
                                !.w.version = Nothing, !.d.weights = Nothing]
     IN Result(i, "validated", Answer(IF torn THEN stream ELSE more, s.w.owner, "READY", s.w.epoch, s.w.update))
  /\ UNCHANGED faults

\* VALIDATED with an error: no memory for the document, or a document that is not valid, or no staging for it.
NotValidated(i) ==
  /\ worker[i].awaits \in {"document", "validation"}
  /\ Spend("device")
  /\ Becomes(i, Fault(At(i), "fault"), link[i])

\* RECEIVED: every announced byte is here; the collective is over for this worker.
Received(i) ==
  /\ Result(i, "received", [At(i) EXCEPT !.w.awaits = "verification", !.d.owes = "verified"])
  /\ UNCHANGED faults

\* RECEIVED with an error: a bad piece of the payload, or a collective that fails for this worker.
NotReceived(i) ==
  /\ worker[i].awaits = "payload" \/ device[i].owes = "received"
  /\ Spend("device")
  /\ Becomes(i, Fault(At(i), "fault"), link[i])

\* The collective never comes to its end for this worker, whatever becomes of the others.
Hangs(i) ==
  /\ worker[i].awaits = "transfer" /\ device[i].owes = "received"
  /\ Spend("hang")
  /\ device' = [device EXCEPT ![i].owes = "nothing, ever"]
  /\ UNCHANGED <<worker, link, trainer, told, kept, decided, pushes>>

\* VERIFIED: digest, bounds and order are checked, old values are kept. After the last update the content must be what was
\* announced. A streamed baseline is in place by then.
OnVerified(s, good) ==
  LET right == s.w.right /\ good
      all == s.w.update + 1 = s.w.updates
      next == [s EXCEPT !.w.right = right, !.w.update = @ + 1, !.w.awaits = "update",
                        !.d.weights = IF s.w.streamed /\ all /\ right THEN s.w.target ELSE @]
  IN IF all /\ ~right THEN Fault(next, "fault") ELSE Answer(next, s.w.owner, "STAGED", s.w.epoch, s.w.update)

Verified(i) == Result(i, "verified", OnVerified(At(i), TRUE)) /\ UNCHANGED faults

\* VERIFIED, but the change is not the announced one: DIGEST_MISMATCH or BASELINE_INCOMPLETE after the last update.
VerifiedWrong(i) == Result(i, "verified", OnVerified(At(i), FALSE)) /\ Spend("device")

\* VERIFIED with an error.
NotVerified(i) == Result(i, "verified", Fault(At(i), "fault")) /\ Spend("device")

\* WRITTEN: the new content is in place.
Written(i) ==
  /\ LET s == At(i)
     IN Result(i, "written", Answer([Commit(s, "applied") EXCEPT !.w.awaits = "decision",
                                                                     !.d.weights = IF s.w.right THEN s.w.target ELSE Nothing],
                                    s.w.owner, "APPLIED", s.w.epoch, 0))
  /\ UNCHANGED faults

\* WRITTEN with an error: the weights are neither old nor new, and the undo log is replayed.
NotWritten(i) == Result(i, "written", Fault(At(i), "fault")) /\ Spend("device")

\* UNDONE: the old elements are in place again, the cancelled collective is over. It may come when nobody waits for it any
\* more.
Undone(i) ==
  /\ LET s == At(i)
     IN Result(i, "undone", IF s.w.awaits = "undo" THEN Reset([s EXCEPT !.d.weights = Before(s.w)]) ELSE s)
  /\ UNCHANGED faults

\* UNDONE with an error: what the weights are nobody knows.
NotUndone(i) ==
  /\ worker[i].awaits = "undo"
  /\ Result(i, "undone", Reset(LoseWeights(At(i))))
  /\ Spend("undo")

\* TIME, past the deadline of the present state. An undo that does not come to its end costs the weights.
WorkerDeadline(i) ==
  /\ worker[i].state # "idle"
  /\ TimePasses
  /\ LET s == At(i)
     IN Becomes(i, IF Doubts(s.w) THEN Ask(s)
                   ELSE IF CanFail(s.w.state) THEN Fault(s, "fault")
                   ELSE Reset(LoseWeights(s)), link[i])

\* LINK_LOST at the worker's end: nobody is left to answer.
OnLinkLost(s, from) ==
  LET alone == [s EXCEPT !.w.owner = "nobody"]
  IN IF s.w.owner # from THEN s
     ELSE IF Doubts(s.w) THEN Ask(alone)
     ELSE IF s.w.awaits = "peers" THEN alone
     ELSE IF CanFail(s.w.state) THEN Fault(alone, "fault") ELSE alone

WorkerLosesLink(i) ==
  /\ link[i].here
  /\ IF link[i].there THEN Spend("cut") ELSE UNCHANGED faults
  /\ Becomes(i, OnLinkLost(At(i), "now"), [link[i] EXCEPT !.here = FALSE, !.down = <<>>])

WorkerLosesPast(i) ==
  /\ link[i].half
  /\ Becomes(i, OnLinkLost(At(i), "past"), [link[i] EXCEPT !.half = FALSE, !.past = <<>>])
  /\ UNCHANGED faults

\* The process dies, and starts again: its weights, its epochs and what it said are gone.
WorkerStarts(i, version) ==
  /\ worker' = [worker EXCEPT ![i] = [NewWorker EXCEPT !.version = version]]
  /\ device' = [device EXCEPT ![i] = [NewDevice EXCEPT !.weights = version]]
  /\ told' = [told EXCEPT ![i] = [v \in Versions |-> "none"]]
  /\ link' = [link EXCEPT ![i] = [@ EXCEPT !.here = FALSE, !.half = FALSE, !.down = <<>>, !.past = <<>>]]
  /\ UNCHANGED <<trainer, kept, decided, pushes>>
WorkerCrashes(i) == Spend("worker") /\ WorkerStarts(i, 1)

(***************************************************************************)
(* Doubt, resolved by peers: ASK and OUTCOME                               *)
(***************************************************************************)

\* What worker j says of worker i's epoch, in the session that leads to i's target. A worker tells of its newest epoch only.
Says(i, j) ==
  IF worker[j].last # worker[i].epoch \/ (told[j][worker[i].target] = "none" /\ worker[j].target # worker[i].target)
  THEN "unknown"
  ELSE IF worker[j].awaits = "peers" THEN "in doubt" ELSE worker[j].outcome

InDoubt(i) == worker[i].awaits = "peers"

\* OUTCOME committed: a peer has committed.
LearnsCommitted(i) ==
  /\ InDoubt(i)
  /\ \E j \in worker[i].peers \ {i} : Says(i, j) = "committed"
  /\ Becomes(i, Keep(At(i)), link[i])
  /\ UNCHANGED faults

\* OUTCOME aborted: a peer has aborted, and knew that nobody could commit.
LearnsAborted(i) ==
  /\ InDoubt(i)
  /\ \E j \in worker[i].peers \ {i} : Says(i, j) = "aborted"
  /\ Becomes(i, GoBack(At(i)), link[i])
  /\ UNCHANGED faults

\* OUTCOME in doubt: when all are, nobody will ever commit. One answer at a time: they are not of one moment.
LearnsOfDoubt(i) ==
  /\ InDoubt(i)
  /\ \E j \in worker[i].peers \ (worker[i].doubters \cup {i}) :
       /\ Says(i, j) = "in doubt"
       /\ LET s == [At(i) EXCEPT !.w.doubters = @ \cup {j}]
          IN Becomes(i, IF s.w.doubters = s.w.peers \ {i} THEN GoBack(s) ELSE s, link[i])
  /\ UNCHANGED faults

(***************************************************************************)
(* The trainer: src/protocol_trainer.c                                     *)
(***************************************************************************)

\* A trainer process that starts has the first version as its base, and knows of no epoch.
NewTrainer ==
  [state |-> Table!InitialState, phase |-> "none", kind |-> "none", cause |-> "none", outcome |-> "none",
   epoch |-> 0, highest |-> 0, doubt |-> 0, base |-> 1, target |-> 0, update |-> 0, updates |-> 0,
   known |-> {}, member |-> {}, answered |-> {}, members |-> 0, committed |-> 0, denied |-> 0, fouled |-> FALSE]

\* A step in the making: the trainer, and what it sends to whom.
Silence == [i \in Workers |-> <<>>]
Now == [t |-> trainer, out |-> Silence, log |-> <<>>]

TCommit(s, event) ==
  Logged([s EXCEPT !.t.state = Moved(@, event)], Moves(s.t.state, event, s.t.epoch, s.t.cause))

Frame(t, type) ==
  [type |-> type, epoch |-> t.epoch, target |-> t.target,
   update |-> IF type \in {"UPDATE", "DOCUMENT", "PAYLOAD"} THEN t.update ELSE 0]
StartFrame(t, known) ==
  Frame(t, "START") @@ [kind |-> t.kind, base |-> IF t.kind = "sparse" THEN t.base ELSE Nothing, updates |-> t.updates,
                        peers |-> IF known THEN t.member ELSE {}]

\* enter_phase and ask: every member is sent the frames, and owes one answer.
AskAll(s, phase, frames) ==
  [s EXCEPT !.t.phase = phase, !.t.answered = {}, !.out = [i \in Workers |-> IF i \in s.t.member THEN frames ELSE <<>>]]
Pending(t) == t.member \ t.answered

\* end_session; what belonged to the session is nobody's any more.
EndSession(s, outcome) ==
  [s EXCEPT !.t = [@ EXCEPT !.outcome = outcome, !.phase = "none", !.kind = "none", !.epoch = 0, !.update = 0,
                            !.updates = 0, !.member = {}, !.answered = {}, !.members = 0, !.committed = 0, !.denied = 0]]

EndAborted(s) == EndSession(TCommit(s, "reset"), "aborted")

\* end_decided: nobody is left to confirm or deny.
EndDecided(s) ==
  LET t == s.t
      known == t.denied = t.members
  IN IF t.committed > 0
     THEN EndSession(TCommit([s EXCEPT !.t.cause = IF t.committed < t.members THEN "unconfirmed" ELSE @], "commit"), "committed")
     ELSE EndSession(TCommit(TCommit([s EXCEPT !.t.cause = IF known THEN "fault" ELSE "in doubt",
                                               !.t.doubt = IF known THEN 0 ELSE t.epoch], "fault"), "reset"),
                     IF known THEN "aborted" ELSE "undecided")

\* fault: before the decision. Everybody goes back.
TFault(s, cause) ==
  LET failed == TCommit([s EXCEPT !.t.cause = cause], "fault")
      asked == AskAll(failed, "abort", <<Frame(failed.t, "ABORT")>>)
  IN IF Pending(asked.t) = {} THEN EndAborted(asked) ELSE asked

Prepare(s) ==
  LET more == TCommit(s, "update") IN AskAll(more, "prepare", <<Frame(more.t, "UPDATE"), Frame(more.t, "DOCUMENT")>>)

\* advance: every member has answered.
Advance(s) ==
  LET t == s.t IN
  CASE t.phase = "start" -> Prepare(s)
    [] t.phase = "prepare" -> AskAll(s, "payload", <<Frame(t, "PAYLOAD")>>)
    [] t.phase = "payload" ->
         LET next == [s EXCEPT !.t.update = @ + 1] IN
         IF next.t.update < t.updates THEN Prepare(next)
         ELSE LET applying == TCommit(next, "apply") IN AskAll(applying, "apply", <<Frame(applying.t, "APPLY")>>)
    [] t.phase = "apply" -> LET finished == TCommit(s, "applied") IN AskAll(finished, "commit", <<Frame(finished.t, "COMMIT")>>)
    [] t.phase = "commit" -> EndDecided(s)
    [] t.phase = "abort" -> EndAborted(s)

IfComplete(s) == IF Pending(s.t) = {} THEN Advance(s) ELSE s

\* remove_member: it failed, or its link is gone.
Remove(s, i, peerFailed) ==
  LET waited == i \notin s.t.answered
      gone == [s EXCEPT !.t.member = @ \ {i}, !.t.answered = @ \ {i}]
  IN IF s.t.phase \notin {"commit", "abort"} THEN TFault(gone, "fault")
     ELSE IF ~waited THEN gone
     ELSE IfComplete(IF s.t.phase = "commit" /\ peerFailed THEN [gone EXCEPT !.t.denied = @ + 1] ELSE gone)

AnswerOf(phase) ==
  CASE phase = "start" -> "STARTED" [] phase = "prepare" -> "READY" [] phase = "payload" -> "STAGED"
    [] phase = "apply" -> "APPLIED" [] phase = "commit" -> "COMMITTED" [] phase = "abort" -> "ABORTED"

\* A peer that does not follow the protocol is cut off. No worker gives cause for it (NoFoul).
Foul(s) == [s EXCEPT !.t.fouled = TRUE]

OnAnswer(s, i, m) ==
  LET t == s.t
      rightUpdate == t.phase \in {"prepare", "payload"} => m.update = t.update
  IN IF t.phase = "abort" /\ m.type # "ABORTED" THEN s  \* sent before ABORT arrived there
     ELSE IF m.type # AnswerOf(t.phase) \/ i \in t.answered \/ ~rightUpdate THEN Foul(s)
     ELSE LET first == t.phase = "commit" /\ t.committed = 0
              heard == [s EXCEPT !.t.answered = @ \cup {i}, !.t.committed = IF t.phase = "commit" THEN @ + 1 ELSE @,
                                 !.t.base = IF first THEN t.target ELSE @]
          IN IfComplete(heard)

OnHello(s, i, m) ==
  LET tells == s.t.doubt # 0 /\ m.epoch = s.t.doubt /\ m.outcome = "committed" /\ m.version = s.t.target
      known == [s EXCEPT !.t.known = @ \cup {i}, !.t.highest = IF m.epoch > @ THEN m.epoch ELSE @]
  IN IF i \in s.t.known THEN Foul(s)
     ELSE IF tells THEN [known EXCEPT !.t.doubt = 0, !.t.outcome = "committed", !.t.cause = "unconfirmed", !.t.base = s.t.target]
     ELSE known

OnHeard(s, i, m) ==
  IF m.type = "HELLO" THEN OnHello(s, i, m)
  ELSE IF i \notin s.t.known THEN Foul(s)
  ELSE IF i \notin s.t.member \/ m.epoch # s.t.epoch THEN Drop(s)
  ELSE IF m.type = "FAILED" THEN Remove(s, i, TRUE)
  ELSE OnAnswer(s, i, m)

(***************************************************************************)
(* The trainer's actions                                                   *)
(***************************************************************************)

\* The links after the trainer has sent; a frame to an end that is gone is lost.
Sent(links, out) == [i \in Workers |-> IF links[i].here THEN [links[i] EXCEPT !.down = @ \o out[i]] ELSE links[i]]

TBecomes(s, links) ==
  /\ trainer' = s.t
  /\ link' = Sent(links, s.out)
  /\ decided' = IF s.t.phase = "commit" THEN decided \cup {s.t.target} ELSE decided
  /\ Emits("trainer", s)
  /\ UNCHANGED <<worker, device, told, kept>>

Hear(i, type) ==
  /\ link[i].there /\ link[i].up # <<>> /\ Head(link[i].up).type = type
  /\ TBecomes(OnHeard(Now, i, Head(link[i].up)), [link EXCEPT ![i].up = Tail(@)])
  /\ UNCHANGED pushes

\* A frame arrives from worker i: WEFT_INPUT_MESSAGE, one action for each type.
HearHello(i) == Hear(i, "HELLO") /\ UNCHANGED faults
HearStarted(i) == Hear(i, "STARTED") /\ UNCHANGED faults
HearReady(i) == Hear(i, "READY") /\ UNCHANGED faults
HearStaged(i) == Hear(i, "STAGED") /\ UNCHANGED faults
HearApplied(i) == Hear(i, "APPLIED") /\ UNCHANGED faults
HearCommitted(i) == Hear(i, "COMMITTED") /\ UNCHANGED faults
HearAborted(i) == Hear(i, "ABORTED") /\ UNCHANGED faults
HearFailed(i) == Hear(i, "FAILED") /\ UNCHANGED faults

\* PUSH: every worker that is known takes part. The epoch is above all that were heard of. known: their addresses are.
PushOf(kind, updates, target, known) ==
  /\ trainer.phase = "none" /\ trainer.known # {}
  /\ LET epoch == trainer.highest + 1
         begun == [trainer EXCEPT !.doubt = 0, !.highest = epoch, !.epoch = epoch, !.cause = "none", !.outcome = "undecided",
                                  !.kind = kind, !.target = target, !.update = 0, !.updates = updates,
                                  !.member = trainer.known, !.members = Cardinality(trainer.known)]
         started == TCommit([Now EXCEPT !.t = begun], "start")
     IN TBecomes(AskAll(started, "start", <<StartFrame(started.t, known)>>), link)
  /\ pushes' = pushes + 1
  /\ UNCHANGED faults
Push == pushes < Sessions /\ \E kind \in Kinds, updates \in Updates : PushOf(kind, updates, pushes + 2, PeerResolution)

Undecided == trainer.phase \notin {"none", "commit", "abort"}

\* STOP: the user aborts.
Stop ==
  /\ Undecided
  /\ Spend("stop")
  /\ TBecomes(TFault(Now, "fault"), link)
  /\ UNCHANGED pushes

\* STOP with the status of the trainer's own part of the collective.
TransferFails ==
  /\ Transport = "nccl" /\ trainer.phase = "payload"
  /\ Spend("transfer")
  /\ TBecomes(TFault(Now, "fault"), link)
  /\ UNCHANGED pushes

\* TIME, past the deadline of the present phase.
TrainerDeadline ==
  /\ trainer.phase # "none"
  /\ TimePasses
  /\ TBecomes(CASE trainer.phase = "commit" -> EndDecided(Now)
                [] trainer.phase = "abort" -> EndAborted(Now)
                [] OTHER -> TFault(Now, "fault"), link)
  /\ UNCHANGED pushes

\* LINK_LOST at the trainer's end.
TrainerLosesLink(i) ==
  /\ link[i].there
  /\ IF link[i].here THEN Spend("cut") ELSE UNCHANGED faults
  /\ LET s == IF i \in trainer.member THEN Remove(Now, i, FALSE) ELSE Now
     IN TBecomes([s EXCEPT !.t.known = @ \ {i}], [link EXCEPT ![i].there = FALSE, ![i].up = <<>>])
  /\ UNCHANGED pushes

\* The process dies, and starts again: session, epochs and base are gone.
TrainerStarts(base) ==
  /\ trainer' = [NewTrainer EXCEPT !.base = base]
  /\ link' = [i \in Workers |-> [link[i] EXCEPT !.there = FALSE, !.up = <<>>]]
  /\ UNCHANGED <<worker, device, told, kept, decided, pushes>>
TrainerCrashes == Spend("trainer") /\ TrainerStarts(1)

\* A connection is made, once the trainer's end knows that the last one is gone; the worker's end may not know it yet. The
\* worker says what it holds.
Hello(i) ==
  [type |-> "HELLO", epoch |-> worker[i].last, outcome |-> worker[i].outcome, version |-> worker[i].version]
Connect(i) ==
  LET l == link[i]
      new == [here |-> TRUE, there |-> TRUE, down |-> <<>>, up |-> <<Hello(i)>>, half |-> l.half \/ l.here,
              past |-> IF l.here THEN l.down ELSE l.past]
  IN /\ ~l.there /\ ~(l.here /\ l.half)
     /\ link' = [link EXCEPT ![i] = new]
     /\ worker' = [worker EXCEPT ![i].owner = IF @ = "now" THEN "past" ELSE @]
     /\ IF l.here THEN Spend("half") ELSE UNCHANGED faults
     /\ UNCHANGED <<device, trainer, told, kept, decided, pushes>>

(***************************************************************************)
(* The whole                                                               *)
(***************************************************************************)

Init ==
  /\ worker = [i \in Workers |-> NewWorker]
  /\ device = [i \in Workers |-> NewDevice]
  /\ link = [i \in Workers |-> [here |-> FALSE, there |-> FALSE, down |-> <<>>, up |-> <<>>, half |-> FALSE, past |-> <<>>]]
  /\ trainer = NewTrainer
  /\ told = [i \in Workers |-> [v \in Versions |-> "none"]]
  /\ kept = {}
  /\ decided = {}
  /\ pushes = 0
  /\ faults = MaxFaults

Arrives(i) ==
  \/ DeliverStart(i) \/ DeliverUpdate(i) \/ DeliverDocument(i) \/ DeliverPayload(i) \/ DeliverApply(i) \/ DeliverCommit(i)
  \/ DeliverAbort(i)
IsHeard(i) ==
  \/ HearHello(i) \/ HearStarted(i) \/ HearReady(i) \/ HearStaged(i) \/ HearApplied(i) \/ HearCommitted(i) \/ HearAborted(i)
  \/ HearFailed(i)
Completes(i) == Validated(i) \/ Received(i) \/ Verified(i) \/ Written(i) \/ Undone(i)
Errs(i) ==
  NotValidated(i) \/ NotReceived(i) \/ Hangs(i) \/ VerifiedWrong(i) \/ NotVerified(i) \/ NotWritten(i) \/ NotUndone(i)
AsksPeers(i) == LearnsCommitted(i) \/ LearnsAborted(i) \/ LearnsOfDoubt(i)

Next ==
  \/ \E i \in Workers :
       \/ Arrives(i) \/ IsHeard(i) \/ Completes(i) \/ Errs(i) \/ AsksPeers(i)
       \/ WorkerDeadline(i) \/ WorkerLosesLink(i) \/ WorkerLosesPast(i) \/ WorkerCrashes(i) \/ TrainerLosesLink(i) \/ Connect(i)
  \/ Push \/ Stop \/ TransferFails \/ TrainerDeadline \/ TrainerCrashes

Spec == Init /\ [][Next]_vars

====
