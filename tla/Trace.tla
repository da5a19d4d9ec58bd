---- MODULE Trace ----
(* Is what the trace hooks of a trainer and its workers said a behaviour of WeightUpdate? trace.py turns logs into a module that
   extends this one (Records, Traces); TLC chooses a trace, walks through it, and says ACCEPTED at its end.

   A record is explained in one of these ways:
     it is the input of an action   RECEIVED, LOST, and HELLO sent, which is a connection made: the model takes that action
     it is the first that an action of the process' own caused (a result of its device, a deadline, its user): the action is
                                    taken just before it, without a record of its own
     it is owed                     what the model's step moves and sends (its `log`), the process' next records must say, in that
                                    order and in every field; until then it can do nothing else
     it is a piece                  of a document or payload, which is one frame in the model: the last piece is that frame
     a process began                anew, with the content that it says
   What workers in doubt ask each other is not in the records that trace.py gives: that a peer was asked is a step without a
   record, and an answer that decides something is the cause of the transition that follows.
   Frames are also matched with each other: what is RECEIVED is the oldest of what was SENT on that link and is not lost, in all
   fields. Everything else that the records do not show must follow from the model's own actions: what is on a link, who is
   asked, which epoch is over, which base is held.

   Numbers: contents (version and digest) are numbered per trace by trace.py, as the model numbers versions; two pushes that lead
   to the same content lead to the same number. Times have their order only. *)
EXTENDS WeightUpdate,
  TraceData  \* Records, every record that is in a trace, once; Traces, each of them the numbers of its records, and their times

CONSTANTS
  MetadataFaults, \* codes of documents that are not valid
  Verbose         \* say AT for every record that is reached

VARIABLES
  which,  \* the trace
  at,     \* its record that comes next
  owed,   \* what each process must say before it does anything else
  wire,   \* frames that were sent, as their records say: to each worker on its present link and on its past one, and from it
  ends    \* numbers of links; sizes of the update that is sent; the cause of the last fault; the time of each process

traceVars == <<which, at, owed, wire, ends>>

Trainer == "trainer"
Processes == Workers \cup {Trainer}
NoLink == -1
NoStatus == "WEFT_OK"

Records_ == Traces[which].records
Rec == Records[Records_[at]]
Time == Traces[which].times[at]
Done == at > Len(Records_)

(***************************************************************************)
(* What a record may say                                                   *)
(***************************************************************************)

StateOf(p) == IF p = Trainer THEN trainer.state ELSE worker[p].state

\* Fields that only some kinds have.
NoEvent(r) == r.event = "start"  \* the first of the enumeration
NoContent(r) == r.session = "none" /\ r.update = 0 /\ r.version = 0 /\ r.offset = 0 /\ r.length = 0
NoFrame(r) == r.message = "?" /\ NoContent(r)
Stays(p, r) == NoEvent(r) /\ r.from = StateOf(p) /\ r.to = r.from

\* A frame as it is on the wire.
Content(r) == [message |-> r.message, epoch |-> r.epoch, session |-> r.session, update |-> r.update, version |-> r.version,
               offset |-> r.offset, length |-> r.length]

Numbered == {"UPDATE", "DOCUMENT", "PAYLOAD", "READY", "STAGED"}
Bulk == {"DOCUMENT", "PAYLOAD"}
Holding == {"COMMITTED", "ABORTED", "FAILED"}  \* they say which content is held; the model's frames do not

\* The record's frame is the model's.
IsFrame(r, m) ==
  /\ r.message = m.type /\ r.epoch = m.epoch
  /\ r.session = (IF m.type = "START" THEN m.kind ELSE "none")
  /\ r.update = (IF m.type = "START" THEN m.updates ELSE IF m.type \in Numbered THEN m.update ELSE 0)
  /\ m.type \notin Holding => r.version = (IF m.type = "START" THEN m.target ELSE IF m.type = "HELLO" THEN m.version ELSE 0)
  /\ m.type \in Bulk \cup {"UPDATE", "START"} \/ (r.offset = 0 /\ r.length = 0)
  /\ (m.type = "PAYLOAD" /\ Transport = "nccl") => r.offset = 0 /\ r.length = 0
  /\ m.type = "START" => r.offset = 0 /\ (r.length > 0 <=> m.peers # {})

\* Codes that a fault of a device, of a document and of memory may have. Which one it is the model does not know.
NoMemory == {"WEFT_E_OUT_OF_MEMORY", "WEFT_E_OVER_BUDGET", "WEFT_E_SIZE_OVERFLOW", "WEFT_E_LIMIT"}
NoDevice == {"WEFT_E_DEVICE_FAILED"}
DocumentFaults == MetadataFaults \cup NoMemory \cup NoDevice
TransferFaults == {"WEFT_E_COLLECTIVE", "WEFT_E_INDEX_OUT_OF_BOUNDS", "WEFT_E_INDEX_ORDER"} \cup NoDevice
ContentFaults == {"WEFT_E_INDEX_OUT_OF_BOUNDS", "WEFT_E_INDEX_ORDER", "WEFT_E_PAYLOAD_DIGEST"} \cup NoDevice
WrongContent == {"WEFT_E_DIGEST_MISMATCH", "WEFT_E_BASELINE_INCOMPLETE"}
LinkFaults == {"WEFT_E_LINK_CLOSED", "WEFT_E_LINK_SILENT", "WEFT_E_FRAME_TRUNCATED", "WEFT_E_SYSTEM_CALL", "WEFT_E_CANCELLED"}

(***************************************************************************)
(* What a step must say: owed                                              *)
(***************************************************************************)

\* The cause of a fault follows from what it is the answer to, which is the present record; one of the process' own is that record.
FaultCodes(p, entry) ==
  IF p = Trainer /\ entry.cause = "in doubt" THEN {"WEFT_E_IN_DOUBT"}
  ELSE IF p # Trainer /\ Rec.kind = "LOST" /\ entry.from = "finished" THEN {"WEFT_E_IN_DOUBT"}
  ELSE IF Rec.kind \in {"LOST", "TRANSITION"} THEN {Rec.status}
  ELSE IF p = Trainer THEN {"WEFT_E_PEER_FAILED"}
  ELSE IF Rec.message = "ABORT" THEN {"WEFT_E_ABORTED"} ELSE {"WEFT_E_UNEXPECTED_MESSAGE"}

\* start_refusal, and the answers to frames of no session here.
RefusalCode(w) ==
  IF Rec.message # "START" THEN IF w.state = "idle" THEN "WEFT_E_UNEXPECTED_MESSAGE" ELSE "WEFT_E_BUSY"
  ELSE IF w.state # "idle" THEN "WEFT_E_BUSY"
  ELSE IF Rec.epoch <= w.last THEN "WEFT_E_STALE_EPOCH"
  ELSE IF w.condition = "lost" THEN "WEFT_E_LOST"
  ELSE IF w.condition = "torn" THEN "WEFT_E_TORN" ELSE "WEFT_E_BASE_MISMATCH"

Transitions(log) == SelectSeq(log, LAMBDA e : e.kind = "TRANSITION")

\* "the cause": that of the last fault, which is said before.
TheCause == "the cause"
Owes(p, entry, log) ==
  CASE entry.kind = "TRANSITION" ->
         [kind |-> "TRANSITION", from |-> entry.from, to |-> entry.to, event |-> entry.event, epoch |-> entry.epoch,
          codes |-> IF entry.event = "fault" THEN FaultCodes(p, entry) ELSE {NoStatus}]
    [] entry.kind = "SENT" ->
         [kind |-> "SENT", to |-> entry.to, frame |-> entry.frame,
          codes |-> IF entry.frame.type # "FAILED" THEN {NoStatus}
                    ELSE IF Transitions(log) = <<>> THEN {RefusalCode(worker[p])} ELSE {TheCause}]
    [] entry.kind = "DROPPED" ->
         [kind |-> "DROPPED", codes |-> IF p # Trainer /\ Rec.message = "START" THEN {"WEFT_E_UNEXPECTED_MESSAGE"}
                                        ELSE IF p # Trainer /\ worker[p].awaits = "peers" /\ Rec.epoch = worker[p].epoch
                                        THEN {"WEFT_E_IN_DOUBT"}
                                        ELSE {"WEFT_E_STALE_EPOCH"}, frame |-> Content(Rec), link |-> Rec.link]

\* What the trainer sends in a step, but for what follows in pieces; to its workers in the order of their links.
InPieces(frame) == frame.type = "DOCUMENT" \/ (frame.type = "PAYLOAD" /\ Transport = "tcp")
Addressed(out) == {i \in Workers : \E k \in 1 .. Len(out[i]) : ~InPieces(out[i][k])}
RECURSIVE InOrder(_)
InOrder(workers) ==
  IF workers = {} THEN <<>>
  ELSE LET first == CHOOSE i \in workers : \A j \in workers : ends.slot[i] <= ends.slot[j]
       IN <<first>> \o InOrder(workers \ {first})
Mail(out) ==
  LET to == InOrder(Addressed(out))
      frame(i) == CHOOSE f \in {out[i][k] : k \in 1 .. Len(out[i])} : ~InPieces(f)
  IN [k \in 1 .. Len(to) |-> [kind |-> "SENT", to |-> to[k], frame |-> frame(to[k]),
                              codes |-> IF frame(to[k]).type = "ABORT" THEN {TheCause} ELSE {NoStatus}]]

\* fault of the trainer asks for ABORTED before it resets, where nobody is left to answer; otherwise it moves first, then sends.
Debts(p, s) ==
  LET log == [k \in 1 .. Len(s.log) |-> Owes(p, s.log[k], s.log)]
  IN IF p = Trainer THEN log \o Mail(s.out) ELSE log

\* A worker's next frame, when what comes before it on the link will never be sent to its end.
SkipsTo(i) == Rec.who = i /\ Rec.kind = "RECEIVED"
FromOf(i) == IF Rec.link = ends.now[i] THEN "now" ELSE IF Rec.link = ends.past[i] THEN "past" ELSE "nobody"
QueueOf(i) == IF FromOf(i) = "now" THEN link[i].down ELSE link[i].past
Skipped(i) ==
  /\ SkipsTo(i) /\ FromOf(i) # "nobody" /\ QueueOf(i) # <<>>
  /\ Head(QueueOf(i)).type \in Bulk
  /\ Rec.message # Head(QueueOf(i)).type \/ Rec.epoch # Head(QueueOf(i)).epoch \/ Rec.update # Head(QueueOf(i)).update

\* In the place of WeightUpdate's Emits. (Named once, because TLC goes through an argument again wherever it stands.)
TraceEmits(p, step) == \E s \in {step} :
  IF p # Trainer /\ Skipped(p)
  THEN (\A k \in 1 .. Len(s.log) : s.log[k].kind = "DROPPED") /\ owed' = owed
  ELSE owed' = [owed EXCEPT ![p] = Debts(p, s)]

(***************************************************************************)
(* Steps of a trace                                                        *)
(***************************************************************************)

\* The record is explained: on to the next one. e: `ends` after it.
Goes(e) ==
  /\ Time >= ends.clock[Rec.who]
  /\ at' = at + 1
  /\ ends' = [e EXCEPT !.clock[Rec.who] = Time]
  /\ UNCHANGED which

PaysWith(entry, r) ==
  /\ r.kind = entry.kind
  /\ r.status \in entry.codes \/ (TheCause \in entry.codes /\ r.status = ends.cause[r.who])
  /\ CASE entry.kind = "TRANSITION" ->
            /\ r.from = entry.from /\ r.to = entry.to /\ r.event = entry.event /\ r.epoch = entry.epoch
            /\ NoFrame(r) /\ r.link = NoLink
       [] entry.kind = "SENT" ->
            /\ Stays(r.who, r) /\ IsFrame(r, entry.frame)
            /\ r.link = (IF r.who = Trainer THEN ends.slot[entry.to] ELSE IF entry.to = "now" THEN ends.now[r.who]
                         ELSE ends.past[r.who])
            /\ IF r.who = Trainer THEN r.peer = entry.to
               ELSE entry.frame.type \in Holding => r.version = worker[r.who].version
       [] entry.kind = "DROPPED" -> Stays(r.who, r) /\ Content(r) = entry.frame /\ r.link = entry.link

\* What is sent is on its way, unless nobody is there to hear it.
Puts(r) ==
  IF r.kind # "SENT" THEN wire
  ELSE IF r.who = Trainer THEN [wire EXCEPT ![r.peer].down = Append(@, Content(r))]
  ELSE IF r.link = ends.now[r.who] THEN [wire EXCEPT ![r.who].up = Append(@, Content(r))]
  ELSE wire

\* Sizes of an update, and what of it has been sent.
Announces(r) ==
  IF r.kind = "SENT" /\ r.message = "UPDATE"
  THEN [ends EXCEPT !.size[r.peer] = [DOCUMENT |-> r.offset, PAYLOAD |-> r.length],
                    !.sent[r.peer] = [DOCUMENT |-> 0, PAYLOAD |-> 0], !.begun[r.peer] = FALSE]
  ELSE ends

Pays(r) ==
  /\ owed[Rec.who] # <<>>
  /\ PaysWith(Head(owed[Rec.who]), Rec)
  /\ owed' = [owed EXCEPT ![Rec.who] = Tail(@)]
  /\ wire' = Puts(Rec)
  /\ LET e == Announces(Rec)
     IN Goes(IF Rec.kind = "TRANSITION" /\ Rec.event = "fault" THEN [e EXCEPT !.cause[Rec.who] = Rec.status] ELSE e)
  /\ UNCHANGED vars

\* ---- inputs of a worker ----

Delivers(i, from, type) == UNCHANGED faults /\ IF from = "now" THEN DeliverNow(i, type) ELSE DeliverPast(i, type)

\* Taken from the wire.
WireOf(i, from) == IF from = "now" THEN wire[i].down ELSE wire[i].past
Takes(i, from) == IF from = "now" THEN [wire EXCEPT ![i].down = Tail(@)] ELSE [wire EXCEPT ![i].past = Tail(@)]

\* A piece that is not the last: where it is taken, nothing moves yet; otherwise it meets what the whole frame would meet.
Piece(i, from) ==
  LET s == OnMessage(At(i), from, Head(QueueOf(i)))
  IN IF s.log = <<>> THEN UNCHANGED <<vars, owed>> ELSE Becomes(i, s, link[i]) /\ UNCHANGED faults

IsLastPiece(i, from) ==
  LET size == IF from = "now" THEN wire[i].size ELSE wire[i].pastSize
  IN (Rec.message = "PAYLOAD" /\ Transport = "nccl") \/ Rec.offset + Rec.length = size[Rec.message]

WorkerHears(r) ==
  LET i == Rec.who
      from == FromOf(i)
      queue == QueueOf(i)
  IN /\ Rec.kind = "RECEIVED" /\ i # Trainer /\ owed[i] = <<>>
     /\ from # "nobody" /\ Stays(i, Rec) /\ Rec.status = NoStatus
     /\ WireOf(i, from) # <<>> /\ Content(Rec) = Head(WireOf(i, from))
     /\ queue # <<>> /\ IsFrame(Rec, Head(queue))
     /\ IF Rec.message \in Bulk /\ ~IsLastPiece(i, from) THEN Piece(i, from) ELSE Delivers(i, from, Rec.message)
     /\ wire' = (IF Rec.message # "UPDATE" THEN Takes(i, from)
                 ELSE LET size == [DOCUMENT |-> Rec.offset, PAYLOAD |-> Rec.length]
                      IN IF from = "now" THEN [Takes(i, from) EXCEPT ![i].size = size]
                         ELSE [Takes(i, from) EXCEPT ![i].pastSize = size])
     /\ Goes(ends)

\* The rest of a document or payload will not come: the model delivers it whole, and it moves nothing that is seen.
Skips(r) ==
  /\ Rec.who # Trainer /\ owed[Rec.who] = <<>> /\ Skipped(Rec.who)
  /\ Delivers(Rec.who, FromOf(Rec.who), Head(QueueOf(Rec.who)).type)
  /\ UNCHANGED traceVars

WorkerLoses(r) ==
  LET i == Rec.who
      from == FromOf(i)
  IN /\ Rec.kind = "LOST" /\ i # Trainer /\ owed[i] = <<>>
     /\ Stays(i, Rec) /\ NoFrame(Rec) /\ Rec.epoch = 0 /\ Rec.status \in LinkFaults
     /\ \/ from = "now" /\ WorkerLosesLink(i) /\ wire' = [wire EXCEPT ![i].down = <<>>]
           /\ Goes([ends EXCEPT !.now[i] = NoLink])
        \/ from = "past" /\ WorkerLosesPast(i) /\ wire' = [wire EXCEPT ![i].past = <<>>]
           /\ Goes([ends EXCEPT !.past[i] = NoLink])

\* A connection is made: a worker says HELLO.
WorkerConnects(r) ==
  LET i == Rec.who IN
  /\ Rec.kind = "SENT" /\ Rec.message = "HELLO" /\ i # Trainer /\ owed[i] = <<>>
  /\ Stays(i, Rec) /\ IsFrame(Rec, Hello(i)) /\ Rec.status = NoStatus
  /\ Rec.link >= 0 /\ Rec.link \notin {ends.now[i], ends.past[i]}
  /\ Connect(i)
  /\ wire' = [wire EXCEPT ![i] = [@ EXCEPT !.up = <<Content(Rec)>>, !.down = <<>>,
                                           !.past = IF link[i].here THEN wire[i].down ELSE @,
                                           !.pastSize = IF link[i].here THEN wire[i].size ELSE @]]
  /\ Goes([ends EXCEPT !.now[i] = Rec.link, !.past[i] = IF link[i].here THEN ends.now[i] ELSE @])
  /\ UNCHANGED owed

\* ---- inputs of the trainer ----

Heard(i, type) == Hear(i, type) /\ UNCHANGED faults

TrainerHears(r) ==
  LET i == Rec.peer IN
  /\ Rec.kind = "RECEIVED" /\ Rec.who = Trainer /\ owed[Trainer] = <<>>
  /\ i \in Workers /\ Stays(Trainer, Rec) /\ Rec.status = NoStatus
  /\ wire[i].up # <<>> /\ Content(Rec) = Head(wire[i].up)
  /\ link[i].up # <<>> /\ IsFrame(Rec, Head(link[i].up))
  /\ Rec.link >= 0
  /\ IF Rec.message = "HELLO" THEN ends.slot[i] = NoLink /\ \A j \in Workers : ends.slot[j] # Rec.link
     ELSE ends.slot[i] = Rec.link
  /\ Heard(i, Rec.message)
  /\ ~trainer'.fouled
  /\ wire' = [wire EXCEPT ![i].up = Tail(@)]
  /\ Goes([ends EXCEPT !.slot[i] = Rec.link])

TrainerLoses(r) ==
  LET i == Rec.peer IN
  /\ Rec.kind = "LOST" /\ Rec.who = Trainer /\ owed[Trainer] = <<>>
  /\ i \in Workers /\ Stays(Trainer, Rec) /\ NoFrame(Rec) /\ Rec.epoch = 0 /\ Rec.status \in LinkFaults
  /\ Rec.link >= 0 /\ ends.slot[i] \in {Rec.link, NoLink} /\ \A j \in Workers \ {i} : ends.slot[j] # Rec.link
  /\ TrainerLosesLink(i)
  /\ wire' = [wire EXCEPT ![i].up = <<>>]
  /\ Goes([ends EXCEPT !.slot[i] = NoLink])

\* A piece of a document or payload goes to worker i; the model has put the whole on the link before.
TrainerSendsPiece(r) ==
  LET i == Rec.peer
      type == Rec.message
      size == ends.size[i][type]
      sent == ends.sent[i][type]
  IN /\ Rec.kind = "SENT" /\ Rec.who = Trainer /\ owed[Trainer] = <<>> /\ type \in Bulk
     /\ i \in Workers /\ ends.slot[i] = Rec.link /\ Stays(Trainer, Rec) /\ Rec.status = NoStatus
     /\ i \in trainer.member /\ trainer.phase = (IF type = "DOCUMENT" THEN "prepare" ELSE "payload")
     /\ Rec.epoch = trainer.epoch /\ Rec.update = trainer.update /\ Rec.session = "none" /\ Rec.version = 0
     /\ InPieces([type |-> type])
     /\ Rec.offset = sent /\ sent + Rec.length <= size
     /\ Rec.length > 0 \/ (type = "PAYLOAD" /\ size = 0 /\ ~ends.begun[i])
     /\ wire' = Puts(Rec)
     /\ Goes([ends EXCEPT !.sent[i][type] = @ + Rec.length, !.begun[i] = @ \/ type = "PAYLOAD"])
     /\ UNCHANGED <<vars, owed>>

\* ---- causes of a process' own ----

\* The device has got everything; no record says so.
QuietlyReceived(i) ==
  /\ device[i].owes = "received"
  /\ Received(i)

\* It has asked its peers, or would, if it were not alone.
Asks(i) == InDoubt(i) \/ Doubts(worker[i])

OwnCause(i) ==
  LET fault == Rec.kind = "TRANSITION" /\ Rec.event = "fault" IN
  \/ Rec.event = "update" /\ Validated(i)
  \/ fault /\ Rec.status \in DocumentFaults /\ NotValidated(i)
  \/ fault /\ Rec.status \in TransferFaults /\ NotReceived(i)
  \/ fault /\ Rec.status \in ContentFaults /\ NotVerified(i)
  \/ fault /\ Rec.status \in WrongContent /\ VerifiedWrong(i)
  \/ Rec.kind = "SENT" /\ Rec.message = "STAGED" /\ Verified(i)
  \/ Rec.event = "applied" /\ Written(i)
  \/ fault /\ Rec.status \in NoDevice /\ NotWritten(i)
  \/ Rec.event = "reset" /\ (Undone(i) \/ NotUndone(i))
  \/ fault /\ Rec.status = (IF Asks(i) THEN "WEFT_E_IN_DOUBT" ELSE "WEFT_E_DEADLINE") /\ WorkerDeadline(i)
  \/ fault /\ Rec.status = "WEFT_E_IN_DOUBT" /\ (LearnsAborted(i) \/ LearnsOfDoubt(i))
  \/ Rec.event = "commit" /\ LearnsCommitted(i)
  \/ Rec.event = "reset" /\ worker[i].state = "failed" /\ WorkerDeadline(i)

\* What the push is, START says, which is the trainer's next record.
NextOf(p) ==
  LET later == {k \in at + 1 .. Len(Records_) : Records[Records_[k]].who = p} IN
  IF later = {} THEN {} ELSE {Records[Records_[CHOOSE k \in later : \A l \in later : k <= l]]}
Pushes(r) ==
  \/ \E n \in NextOf(Trainer) :
       n.message = "START" /\ n.session \in Kinds /\ n.version \in Versions /\ n.update > 0
         /\ PushOf(n.session, n.update, n.version, n.length > 0)
  \/ NextOf(Trainer) = {} /\ PushOf("baseline", 1, 1, FALSE)  \* it ends here: whatever it was

OwnCauseOfTrainer(r) ==
  LET fault == Rec.event = "fault" IN
  \/ Rec.event = "start" /\ Pushes(0)
  \/ fault /\ Rec.status = "WEFT_E_ABORTED" /\ Stop
  \/ fault /\ Rec.status = "WEFT_E_COLLECTIVE" /\ TransferFails
  \/ fault /\ Rec.status \in {"WEFT_E_DEADLINE", "WEFT_E_IN_DOUBT"} /\ TrainerDeadline
  \/ Rec.event \in {"commit", "reset"} /\ TrainerDeadline

Acts(r) ==
  LET p == Rec.who IN
  /\ owed[p] = <<>>
  /\ Rec.kind = "TRANSITION" \/ (Rec.kind = "SENT" /\ Rec.message = "STAGED")
  /\ IF p = Trainer THEN OwnCauseOfTrainer(0) ELSE QuietlyReceived(p) \/ OwnCause(p)
  /\ owed'[p] # <<>> => PaysWith(Head(owed'[p]), Rec)
  /\ UNCHANGED <<which, at, wire, ends>>

\* ---- in doubt ----

\* A deadline has passed for the trainer's word; or a peer was asked, and was in doubt as well. No record says so.
Doubting(r) == \E i \in Workers :
  /\ owed[i] = <<>>
  /\ (Doubts(worker[i]) /\ WorkerDeadline(i)) \/ LearnsOfDoubt(i)
  /\ worker'[i].awaits = "peers"
  /\ UNCHANGED <<which, at, wire, ends>>

\* ---- life ----

Began(r) ==
  /\ Rec.kind = "BEGAN" /\ Time = 0
  /\ Stays(Rec.who, [Rec EXCEPT !.from = StateOf(Rec.who), !.to = StateOf(Rec.who)]) /\ Rec.from = "idle" /\ Rec.to = "idle"
  /\ Rec.link = NoLink /\ Rec.epoch = 0 /\ Rec.status = NoStatus /\ NoFrame([Rec EXCEPT !.version = 0])
  /\ Rec.version \in Versions
  /\ owed' = [owed EXCEPT ![Rec.who] = <<>>]
  /\ IF Rec.who = Trainer
     THEN /\ TrainerStarts(Rec.version)
          /\ wire' = [i \in Workers |-> [wire[i] EXCEPT !.up = <<>>]]
          /\ ends' = [ends EXCEPT !.slot = [i \in Workers |-> NoLink], !.clock[Trainer] = 0]
     ELSE /\ WorkerStarts(Rec.who, Rec.version)
          /\ wire' = [wire EXCEPT ![Rec.who] = [@ EXCEPT !.down = <<>>, !.past = <<>>]]
          /\ ends' = [ends EXCEPT !.now[Rec.who] = NoLink, !.past[Rec.who] = NoLink, !.clock[Rec.who] = 0]
  /\ at' = at + 1
  /\ UNCHANGED <<faults, which>>

\* Nothing more will come: everybody has said what it owed.
Ended(r) ==
  /\ Rec.kind = "ENDED" /\ Rec.who = Trainer /\ Time = 0
  /\ Rec.from = "idle" /\ Rec.to = "idle" /\ NoEvent(Rec) /\ NoFrame(Rec)
  /\ Rec.link = NoLink /\ Rec.epoch = 0 /\ Rec.status = NoStatus
  /\ \A p \in Processes : owed[p] = <<>>
  /\ at = Len(Records_)
  /\ at' = at + 1
  /\ UNCHANGED <<vars, which, owed, wire, ends>>

(***************************************************************************)
(* The whole                                                               *)
(***************************************************************************)

NoSizes == [DOCUMENT |-> 0, PAYLOAD |-> 0]

TraceInit ==
  /\ Init
  /\ which \in 1 .. Len(Traces)
  /\ at = 1
  /\ owed = [p \in Processes |-> <<>>]
  /\ wire = [i \in Workers |-> [down |-> <<>>, past |-> <<>>, up |-> <<>>, size |-> NoSizes, pastSize |-> NoSizes]]
  /\ ends = [now |-> [i \in Workers |-> NoLink], past |-> [i \in Workers |-> NoLink], slot |-> [i \in Workers |-> NoLink],
             size |-> [i \in Workers |-> NoSizes], sent |-> [i \in Workers |-> NoSizes], begun |-> [i \in Workers |-> FALSE],
             cause |-> [p \in Processes |-> NoStatus], clock |-> [p \in Processes |-> 0]]

Step(r) ==
  /\ ~Done
  /\ \/ Pays(r) \/ WorkerHears(r) \/ Skips(r) \/ WorkerLoses(r) \/ WorkerConnects(r) \/ TrainerHears(r) \/ TrainerLoses(r)
     \/ TrainerSendsPiece(r) \/ Acts(r) \/ Doubting(r) \/ Began(r) \/ Ended(r)

TraceNext == <<Step(0)>>_<<vars, traceVars>>

\* Invariants that always hold: they are how TLC tells trace.py.
Reached == ~Verbose \/ PrintT(<<"AT", which, at>>)
Accepted == ~Done \/ PrintT(<<"ACCEPTED", which>>)

====
