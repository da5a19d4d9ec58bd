---- MODULE Properties ----
(* What must hold of WeightUpdate, what must come to pass, and which situations must be reachable. README.md lists what each
   of these guards against, and the mutation of the model that shows that it does. *)
EXTENDS WeightUpdate

Symmetry == Permutations(Workers)  \* not for liveness

(***************************************************************************)
(* Safety: invariants                                                      *)
(***************************************************************************)

Types ==
  /\ \A i \in Workers :
       /\ DOMAIN worker[i] = DOMAIN NewWorker
       /\ worker[i].state \in Table!States
       /\ worker[i].awaits \in {"nothing", "update", "document", "validation", "payload", "transfer", "verification", "write",
                                "decision", "peers", "undo"}
       /\ worker[i].kind \in Kinds \cup {"none"}
       /\ worker[i].cause \in {"none", "aborted", "fault"}
       /\ worker[i].condition \in {"intact", "torn", "lost"}
       /\ worker[i].outcome \in {"none", "committed", "aborted", "unconfirmed", "undecided"}
       /\ worker[i].version \in Versions \cup {Nothing}
       /\ worker[i].update \in 0 .. worker[i].updates
       /\ worker[i].peers \subseteq Workers /\ worker[i].doubters \subseteq worker[i].peers
       /\ device[i].weights \in Versions \cup {Nothing}
       /\ device[i].owes \in {"none", "validated", "received", "verified", "written", "undone", "nothing, ever"}
       /\ Len(link[i].down) <= 2 * Sessions + 4 /\ Len(link[i].up) <= 2 * Sessions + 4
       /\ worker[i].owner \in {"nobody", "now", "past"}
       /\ told[i] \in [Versions -> {"none", "committed", "aborted", "unconfirmed"}]
  /\ DOMAIN trainer = DOMAIN NewTrainer
  /\ trainer.state \in Table!States
  /\ trainer.phase \in {"none", "start", "prepare", "payload", "apply", "commit", "abort"}
  /\ trainer.outcome \in {"none", "committed", "aborted", "undecided"}
  /\ trainer.base \in Versions
  /\ trainer.answered \subseteq trainer.member /\ trainer.member \subseteq trainer.known /\ trainer.known \subseteq Workers
  /\ kept \subseteq Versions /\ decided \subseteq Versions /\ pushes \in 0 .. Sessions /\ faults \in 0 .. MaxFaults

\* A session's fields say what its state says.
Consistent ==
  /\ \A i \in Workers :
       /\ worker[i].state = "idle" => worker[i] = NoSession @@ worker[i] /\ ~device[i].staging
       /\ worker[i].condition = "intact" <=> worker[i].version # Nothing
       /\ worker[i].epoch <= worker[i].last
  /\ (trainer.phase = "none") <=> (trainer.state = "idle")
  /\ trainer.phase # "none" => Pending(trainer) # {}

\* Live workers never differ on the outcome of a session, unless the one that went back says that it could not know.
Agreement ==
  \A i, j \in Workers, v \in Versions : ~(told[i][v] = "committed" /\ told[j][v] = "aborted")

\* Who is idle and intact holds exactly the version that it says; it is the first one or one that was committed.
NoTorn ==
  \A i \in Workers :
    worker[i].state = "idle" /\ worker[i].condition = "intact" =>
      device[i].weights = worker[i].version /\ worker[i].version \in kept \cup {1}

\* A worker's version is what the newest session that it committed led to.
VersionIsOutcome ==
  \A i \in Workers :
    LET own == {1} \cup {v \in Versions : told[i][v] = "committed"}
    IN worker[i].condition = "intact" => worker[i].version = CHOOSE v \in own : \A o \in own : o <= v

\* Nobody commits what no trainer has decided to commit.
CommitIsDecided == kept \subseteq decided

\* The trainer's base is the first version or one that some worker has committed; what it tells its user is so.
TrainerRight ==
  /\ trainer.base \in kept \cup {1}
  /\ trainer.phase = "none" /\ trainer.outcome = "committed" => trainer.target \in kept
  /\ trainer.phase = "none" /\ trainer.outcome = "aborted" => trainer.target \notin kept

\* Inference runs in every state except from applying to idle; while a baseline is streamed it stands still earlier.
PauseOnlyToWrite ==
  \A i \in Workers :
    worker[i].paused => worker[i].state \in {"applying", "finished", "failed"} \/ worker[i].streamed

\* No worker gives the trainer cause to cut it off.
NoFoul == ~trainer.fouled

(***************************************************************************)
(* Safety: of single steps                                                 *)
(***************************************************************************)

Steps(from) == {t[3] : t \in {t \in Table!Transitions : t[1] = from}}
\* At most two rows in one step: fault and reset, apply and applied.
Follows(from, to) == to = from \/ to \in Steps(from) \/ \E between \in Steps(from) : to \in Steps(between)

\* States move along the table only. A process that starts again is idle.
TableRespected ==
  [][ /\ \A i \in Workers : Follows(worker[i].state, worker'[i].state) \/ worker'[i] = NewWorker
      /\ Follows(trainer.state, trainer'.state) \/ trainer' = NewTrainer ]_vars

\* Nothing of an epoch that is over, and nothing that comes on a connection that is not the session's, moves a worker.
Takes(i) == link[i].down # <<>> /\ link'[i] # link[i] /\ link'[i].down = Tail(link[i].down) /\ link'[i].here
TakesPast(i) == link[i].past # <<>> /\ link'[i] # link[i] /\ link'[i].past = Tail(link[i].past) /\ link'[i].half
IsOver(i, m) == m.epoch < worker[i].last \/ (m.epoch = worker[i].last /\ worker[i].state = "idle")
Still(i) == worker'[i] = worker[i] /\ device'[i] = device[i]
NoZombie ==
  [][ \A i \in Workers :
        /\ Takes(i) /\ IsOver(i, Head(link[i].down)) => Still(i)
        /\ TakesPast(i) /\ (IsOver(i, Head(link[i].past)) \/ worker[i].owner = "now") => Still(i) ]_vars

\* The weights change while inference stands still only, or with the process.
WrittenInPauseOnly ==
  [][ \A i \in Workers :
        device'[i].weights # device[i].weights => worker[i].paused \/ worker'[i].paused \/ worker'[i].condition = "lost"
                                                  \/ worker'[i] = NewWorker ]_vars

(***************************************************************************)
(* Liveness                                                                *)
(***************************************************************************)

\* What may be relied on. None of it says anything about faults, but for deadlines, which are what ends a silence. One clause
\* for all together asks for less than one for each: something of it happens as long as anything of it can. (Faults are
\* finite, so that whoever grants one clause for each grants this one.)
Delivery == \E i \in Workers : Arrives(i) \/ IsHeard(i)              \* frames arrive
Results == \E i \in Workers : Completes(i)                           \* what does not hang comes to its end
Noticing == \E i \in Workers :                                       \* an end notices that the other one is gone
  (~link[i].there /\ WorkerLosesLink(i)) \/ WorkerLosesPast(i) \/ (~link[i].here /\ TrainerLosesLink(i))
WorkerTime == \E i \in Workers : WorkerDeadline(i)                   \* clocks go on
TrainerTime == TrainerDeadline
Pushing == Push \/ \E i \in Workers : Connect(i)                     \* there is a next session

FairSpec == Spec /\ WF_vars(Delivery \/ Results \/ Noticing \/ WorkerTime \/ TrainerTime)
BusySpec == Spec /\ WF_vars(Delivery \/ Results \/ Noticing \/ Pushing)

\* Every process returns to idle, and every session ends.
WorkersComeHome == \A i \in Workers : worker[i].state # "idle" ~> worker[i].state = "idle"
SessionsEnd == trainer.phase # "none" ~> trainer.phase = "none"

\* Once faults have stopped and everybody is idle, connected and known, a baseline that begins is committed by all.
Calm ==
  /\ faults = 0 /\ trainer.phase = "start" /\ trainer.kind = "baseline" /\ trainer.member = Workers /\ trainer.answered = {}
  /\ \A i \in Workers :
       /\ worker[i].state = "idle" /\ worker[i].condition # "lost" /\ link[i].here /\ link[i].there
       /\ Len(link[i].down) = 1 /\ link[i].up = <<>> /\ worker[i].last < trainer.epoch
NextCommits ==
  \A v \in Versions :
    Calm /\ trainer.target = v ~> trainer.base = v /\ \A i \in Workers : worker[i].version = v

(***************************************************************************)
(* Reachability: each of these says that a situation never occurs, and     *)
(* must be violated                                                        *)
(***************************************************************************)

\* (After a fault: a session has gone wrong before.)
NeverCalm == ~(Calm /\ pushes = 2 /\ trainer.base = 1)
NeverCommitted == ~(\A i \in Workers : worker[i].version = Sessions + 1)
NeverUnconfirmed == ~\E i \in Workers : worker[i].outcome = "unconfirmed" /\ worker[i].state = "idle"
NeverInDoubt == trainer.doubt = 0
NeverSettled ==
  ~\E i \in Workers : trainer.doubt # 0 /\ link[i].up # <<>> /\ link[i].there /\ Head(link[i].up).type = "HELLO"
                      /\ Head(link[i].up).version = trainer.target
NeverDenied == ~(trainer.phase = "commit" /\ trainer.denied > 0)
NeverDiffers == ~\E i, j \in Workers, v \in Versions : told[i][v] = "committed" /\ told[j][v] = "unconfirmed"
NeverTorn == ~\E i \in Workers : worker[i].condition = "torn" /\ worker[i].state = "idle"
\* Torn by one session, repaired by a later one: version 2 is never committed here, and 3 is, as a streamed baseline.
NeverRepaired == ~\E i \in Workers : told[i][2] = "aborted" /\ worker[i].version = 3 /\ trainer.kind = "baseline"
NeverLost == ~\E i \in Workers : worker[i].condition = "lost"
NeverLateUndo == ~\E i \in Workers : worker[i].state = "idle" /\ device[i].owes = "undone"
NeverRefused == ~\E i \in Workers : link[i].up # <<>> /\ Head(link[i].up).type = "FAILED" /\ worker[i].last < trainer.epoch
NeverPartial == ~(trainer.phase # "none" /\ trainer.members < Cardinality(Workers))
NeverBusy == ~\E i \in Workers : link[i].past # <<>> /\ worker[i].owner = "now"
NeverStale ==
  ~\E i \in Workers : link[i].past # <<>> /\ IsOver(i, Head(link[i].past)) /\ Head(link[i].past).type # "ABORT"
NeverHalfHung == ~\E i, j \in Workers : device[i].owes = "nothing, ever" /\ worker[j].awaits = "verification"
NeverCancelled == ~\E i \in Workers : worker[i].awaits = "undo" /\ ~worker[i].written
NeverToldByPeer == ~\E i \in Workers : InDoubt(i) /\ \E j \in worker[i].peers \ {i} : Says(i, j) = "committed"
NeverAllInDoubt == ~\A i \in Workers : InDoubt(i)
\* Two sessions of the same epoch: a trainer that starts again and hears from some workers only may choose one that others saw.
NeverSameEpoch ==
  ~\E i, j \in Workers : worker[i].epoch # 0 /\ worker[i].epoch = worker[j].epoch /\ worker[i].target # worker[j].target

====
