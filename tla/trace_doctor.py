"""Traces with one mistake in them, and the index at which Trace.tla must refuse each.

A mistake may happen to be a behaviour of the model too, for a while or for good: then the index is where it stops to be one, or the
mistake is not made. Those are, and why:
  now_ns       only the order of one process' times counts: one that is too early is refused, one that is too late shows at the next
  START sent   what a push is, nobody says before: the first START is believed, and the next one, sent or received, differs.
               A push without START is refused where it begins
  HELLO        the number of a link is not known before: it shows at the next record of that link; never, if the trainer loses it
               before HELLO
  UPDATE sent  nobody knows the sizes before: they show when UPDATE is received. So does the size of a list of addresses in START
  dropped      a frame that is sent shows when it is received; if it never is, a piece or STAGED may as well not have been sent.
               A frame that is received just before a link is lost, a deadline, a failure or the user's abort may as well have
               been lost. An answer that the trainer waits for to end an abort may as well have been too late, and shows at its
               next frame of that worker
  swapped      of what happens to a process from two sides either may come first; but then the first must be followed by what it
               caused, and the second one is refused
who and peer are no fields of a record: the log adds them. BEGAN and ENDED are the log's own."""
import trace_log

FIELDS = [name for name in trace_log.COLUMNS if name not in ("who", "peer")]
LOG_ONLY = ("BEGAN", "ENDED")
LATE_NS = 10 ** 15


class Case:
    def __init__(self, kind, what, log, index):
        self.kind, self.what, self.log, self.index = kind, what, log, index


def role(row):
    return "trainer" if row["who"] == "trainer" else "worker"


def shape(row):
    """Records that are alike but for numbers."""
    return role(row), row["kind"], row["message"], row["event"], row["from"] if row["kind"] == "TRANSITION" else "", row["status"]


def first(rows, begin, wanted):
    """Index, from 1, of the first record from `begin` on that is wanted; None without one."""
    return next((k + 1 for k in range(begin, len(rows)) if wanted(rows[k])), None)


def other(row, field):
    """A value that the field does not have."""
    def choose(*values):
        return next(value for value in values if value != row[field])

    if field == "kind":
        return choose("SENT" if row["kind"] == "RECEIVED" else "RECEIVED")
    if field in ("from", "to"):
        return choose("applying", "idle")
    if field == "event":
        return choose("commit", "update")
    if field == "message":
        return choose("APPLY", "STAGED")
    if field == "link":
        return str(int(row[field]) + 7) if row[field] != "none" else "0"
    if field == "status":
        return choose("WEFT_E_TORN", "WEFT_E_BUSY")
    if field == "session":
        return choose("baseline", "sparse")
    if field == "digest":
        return f"0x{int(row[field], 16) ^ 1:016x}"
    return str(int(row[field]) + (1_000_000_000 if field == "length" and row["message"] in ("DOCUMENT", "PAYLOAD") else 1))


OWN_OF_TRAINER = ("WEFT_E_ABORTED", "WEFT_E_DEADLINE", "WEFT_E_COLLECTIVE", "WEFT_E_IN_DOUBT")
NOT_OWN_OF_WORKER = ("WEFT_E_ABORTED", "WEFT_E_UNEXPECTED_MESSAGE", "WEFT_E_IN_DOUBT", "WEFT_E_LINK_CLOSED", "WEFT_E_LINK_SILENT",
                     "WEFT_E_FRAME_TRUNCATED", "WEFT_E_SYSTEM_CALL", "WEFT_E_CANCELLED")


def is_from_outside(row):
    """Can it happen whatever came before? A link that is lost, or a fault that no frame caused."""
    own = row["status"] in OWN_OF_TRAINER if row["who"] == "trainer" else row["status"] not in NOT_OWN_OF_WORKER
    return row["kind"] == "LOST" or (row["event"] == "fault" and own)


def is_piece(log, row):
    return row["message"] == "DOCUMENT" or (row["message"] == "PAYLOAD" and log.transport == "tcp")


def begins_push(rows, k):
    """Is it the first START of a push?"""
    return rows[k]["kind"] == "SENT" and rows[k]["message"] == "START" and rows[k - 1]["event"] == "start" \
        and rows[k - 1]["kind"] == "TRANSITION"


def same_frame(row):
    """Is it the same frame, received by whom it was sent to, or from whom?"""
    names = ["message", "epoch", "session", "update", "version", "digest", "offset", "length"]
    return lambda later: later["kind"] == "RECEIVED" and all(later[name] == row[name] for name in names) and (
        later["who"] == row["peer"] if row["who"] == "trainer" else later["peer"] == row["who"])


def is_known(rows, k):
    """Has the trainer heard HELLO on this link? A worker has always said it."""
    row = rows[k]
    if row["who"] != "trainer":
        return True
    past = [earlier for earlier in rows[:k] if earlier["who"] == "trainer"
            and (earlier["kind"] == "BEGAN" or (earlier["peer"] == row["peer"] and earlier["kind"] in ("RECEIVED", "LOST")))]
    return bool(past) and past[-1]["kind"] == "RECEIVED"


# ---- one field ----


def time_case(rows, k):
    """The index, and the new time."""
    row = rows[k]
    before = [earlier for earlier in rows[:k] if earlier["who"] == row["who"]]
    if before and int(before[-1]["now_ns"]) > 0:
        return k + 1, "0"
    late = str(int(row["now_ns"]) + LATE_NS)
    return first(rows, k + 1, lambda later: later["who"] == row["who"] and later["kind"] not in LOG_ONLY), late


def field_index(rows, k, field):
    row = rows[k]
    sent = row["kind"] == "SENT"
    if field == "message" and begins_push(rows, k):
        return k
    if row["message"] == "START" and sent and field == "length" and row["length"] != "0":
        return first(rows, k + 1, same_frame(row))
    if row["message"] == "START" and sent and field in ("session", "update", "version", "digest", "length"):
        if first(rows[:k], 0, lambda earlier: earlier["message"] == "START" and earlier["epoch"] == row["epoch"]):
            return k + 1
        return first(rows, k + 1, lambda later: later["message"] == "START")
    if row["message"] == "UPDATE" and sent and field in ("offset", "length"):
        return first(rows, k + 1, same_frame(row))
    if row["kind"] == "LOST" and field == "link" and not is_known(rows, k):
        return None
    if row["message"] == "HELLO" and field == "link" and (sent or row["who"] == "trainer"):
        return first(rows, k + 1, lambda later: later["who"] == row["who"] and later["link"] == row["link"])
    return k + 1


def change_fields(log, k):
    for field in FIELDS:
        row = trace_log.Row(log.rows[k])
        if field == "now_ns":
            index, value = time_case(log.rows, k)
        else:
            index, value = field_index(log.rows, k, field), other(row, field)
        if index is None:
            continue
        row[field] = value
        rows = [*log.rows[:k], row, *log.rows[k + 1:]][:max(index, k + 1)]
        yield Case(f"{field} changed", f"{field} changed in record {k + 1} to {value}", log.changed(log.name, rows), index)


# ---- whole records: where there is one worker, so that nobody else's records hide what is missing ----


def drop_index(log, k):
    """The index in the trace without record k."""
    rows, row = log.rows, log.rows[k]
    if row["kind"] == "SENT" and (is_piece(log, row) or row["message"] == "STAGED"):
        received = first(rows, k + 1, same_frame(row))
        further = first(rows, k + 1, lambda later: is_piece(log, row) and later["kind"] == "SENT" and later["offset"] != "0"
                        and all(later[name] == row[name] for name in ("who", "message", "epoch", "update")))
        found = [index for index in (received, further) if index is not None]
        return min(found) - 1 if found else None
    if begins_push(rows, k):
        return k if first(rows, k + 1, lambda later: later["who"] == "trainer") else None
    following = first(rows, k + 1, lambda later: later["who"] == row["who"])
    if following is None or rows[following - 1]["kind"] in LOG_ONLY:
        return None
    after = rows[following - 1]
    if row["kind"] in ("RECEIVED", "LOST") and is_from_outside(after):
        return None
    if row["who"] == "trainer" and row["kind"] in ("RECEIVED", "LOST") and after["event"] == "reset":
        if row["kind"] == "LOST":
            return None
        following = first(rows, k + 1, lambda later: later["who"] == "trainer" and later["kind"] in ("RECEIVED", "LOST", "BEGAN"))
        if following is None or rows[following - 1]["kind"] != "RECEIVED":
            return None
    candidates = [following]
    if row["kind"] == "SENT":
        candidates.append(first(rows, k + 1, same_frame(row)))
    if row["kind"] == "LOST":
        candidates.append(first(rows, k + 1, lambda later: later["kind"] == "SENT" and later["message"] == "HELLO"))
    return min(index for index in candidates if index is not None) - 1


def drop(log, k):
    index = drop_index(log, k)
    if index is not None:
        rows = [*log.rows[:k], *log.rows[k + 1:]]
        rows = rows if begins_push(log.rows, k) else rows[:index]
        yield Case("record dropped", f"record dropped, number {k + 1}", log.changed(log.name, rows), index)


def swap(log, k):
    one, two = log.rows[k], log.rows[k + 1]
    ends_abort = one["who"] == "trainer" and one["kind"] in ("RECEIVED", "LOST") and two["event"] == "reset"
    if one["who"] == two["who"] and two["kind"] not in LOG_ONLY and not ends_abort:
        free = one["kind"] in ("RECEIVED", "LOST") or (one["kind"] == "SENT" and (is_piece(log, one) or one["message"] == "STAGED"))
        either = free and (is_from_outside(two) or (one["kind"] == "SENT" and two["kind"] == "RECEIVED"))
        index = k if begins_push(log.rows, k) else k + 2 if either else k + 1
        rows = [*log.rows[:k], two, one][:max(index, k + 1)]
        yield Case("records swapped", f"records swapped, number {k + 1} and the next", log.changed(log.name, rows), index)


# ---- all ----


def doctor(logs):
    """One case for each field of each shape of record, one drop for each shape, and one swap for each pair of shapes; in the
    shortest traces that have them."""
    cases, seen = [], set()
    for log in sorted(logs, key=lambda log: len(log.rows)):
        alone = log.workers == 1 and not any(row["message"] == "START" and row["length"] != "0" for row in log.rows)
        for k, row in enumerate(log.rows):
            if row["kind"] in LOG_ONLY:
                continue
            makers = [("field", shape(row), change_fields)]
            if alone:
                makers.append(("drop", shape(row), drop))
                if k + 1 < len(log.rows):
                    makers.append(("swap", (shape(row), shape(log.rows[k + 1])), swap))
            for name, key, make in makers:
                made = [] if (name, key) in seen else list(make(log, k))
                if made:
                    seen.add((name, key))
                    cases += made
    return cases
