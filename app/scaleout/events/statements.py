"""The SQL statements of the outbox and its waits. They use indexes only, at any size of the
table.
"""

from __future__ import annotations

# Seconds until a sent event without an answer is resent: longer than an idle consumer takes. The
# waits grow up to LONGEST. In between the relay looks whether the consumer's queue is empty.
SILENCE = 10
LOOK = SILENCE / 2
LONGEST = 120
# Failures of the consumer until an event is parked: about four minutes with the waits in between.
FAILURES = 8

# The state of a sent event. UNKNOWN: it may be in the consumer's queue. TAKEN: the queue was empty
# since, so a worker has it or none. HEARD: no worker has it: the consumer failed, or the broker did
# not take it.
UNKNOWN, TAKEN, HEARD = 0, 1, 2

_COLUMNS = "id, event_id, name, aggregate, consumer, data::text, headers::text, created_at, sends, bulk"
# The wait after so many sends: 2, 4, 8, … seconds, a fifth more or less, so that events that failed
# together are not resent together.
_WAIT = "make_interval(secs => greatest({least}, least({longest}, 2 ^ least(sends, 10))) * (0.8 + 0.4 * random()))"
ONE_OF_AN_AGGREGATE = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
# An event behind another one is due at once: it is sent when that one is confirmed. A separate
# statement after the lock, so that it sees what the last holder of the lock has committed.
WRITE = f"""
    INSERT INTO events_outbox (event_id, name, aggregate, consumer, data, headers, created_at, due_at, sends)
    SELECT %(event_id)s, %(name)s, %(aggregate)s, %(consumer)s, %(data)s, %(headers)s, clock_timestamp(),
           clock_timestamp() + CASE WHEN waits THEN interval '0' ELSE make_interval(secs => {LOOK}) END,
           CASE WHEN waits THEN 0 ELSE 1 END
      FROM (SELECT EXISTS (SELECT FROM events_outbox
                            WHERE consumer = %(consumer)s AND aggregate = %(aggregate)s) AS waits)
    RETURNING {_COLUMNS}
"""  # noqa: S608 - made of our own words
# A single event does not wait for the bulk events before it in its aggregate.
HURRY = """
    UPDATE events_outbox SET bulk = false, due_at = CASE WHEN sends = 0 THEN clock_timestamp() ELSE due_at END
     WHERE consumer = %(consumer)s AND aggregate = %(aggregate)s AND bulk
"""
# Force an index for each row, whatever the statistics say: this table fills and empties within
# minutes. The order selects the index: only that index can serve a comparison of rows in its order.
BY_INDEX = """
    SELECT set_config('enable_' || way, 'off', true)
      FROM unnest(ARRAY['seqscan', 'bitmapscan', 'sort', 'incremental_sort', 'hashjoin', 'mergejoin']) AS way
"""
# For each want, look at as many rows as its limit, those that are due longest. An event behind
# another one is looked at again when it is twice as old. For a sent event the relay first notes
# that the queue is empty: then a worker has it, or none. If it has no answer some time later, and
# no answer waits, it is resent. `ago`: seconds since the lengths of the queues were read; an event
# sent later is not due. Rows that another relay has locked are skipped. The statement's time, not
# the clock's: an index needs a constant time.
CLAIM = f"""
    WITH due AS MATERIALIZED (
        SELECT one.id, CASE WHEN one.waits THEN 'waits'
                            WHEN one.sends = 0 OR one.known = {HEARD} THEN 'send'
                            WHEN one.known = {TAKEN} AND want.heard THEN 'send'
                            WHEN one.known = {UNKNOWN} AND want.taken THEN 'taken'
                            ELSE 'busy' END AS what
          FROM unnest(%(consumers)s::text[], %(bulks)s::boolean[], %(limits)s::int[], %(taken)s::boolean[],
                      %(heard)s::boolean[]) AS want (consumer, bulk, most, taken, heard)
         CROSS JOIN LATERAL (
               SELECT id, sends, known, id <> (
                      SELECT id FROM events_outbox AS head
                       WHERE (head.consumer, head.aggregate, head.id) >= (mine.consumer, mine.aggregate, 0)
                       ORDER BY head.consumer, head.aggregate, head.id LIMIT 1) AS waits
                 FROM events_outbox AS mine
                WHERE (mine.consumer, mine.bulk, mine.due_at) >= (want.consumer, want.bulk, '-infinity'::timestamptz)
                  AND (mine.consumer, mine.bulk, mine.due_at)
                      <= (want.consumer, want.bulk, statement_timestamp() - make_interval(secs => %(ago)s))
                  AND mine.parked_at IS NULL
                ORDER BY mine.consumer, mine.bulk, mine.due_at LIMIT want.most FOR UPDATE SKIP LOCKED) AS one)
    UPDATE events_outbox
       SET sends = sends + CASE WHEN what = 'send' THEN 1 ELSE 0 END,
           known = CASE what WHEN 'taken' THEN {TAKEN} WHEN 'send' THEN {UNKNOWN} ELSE known END,
           due_at = clock_timestamp() + CASE what
               WHEN 'waits' THEN least(make_interval(secs => {LONGEST}),
                                       greatest(make_interval(secs => {LOOK}), clock_timestamp() - created_at))
               WHEN 'taken' THEN {_WAIT.format(least=SILENCE, longest=LONGEST)} - make_interval(secs => {LOOK})
               ELSE make_interval(secs => {LOOK}) END
      FROM due WHERE events_outbox.id = due.id
    RETURNING {_COLUMNS.replace("id,", "events_outbox.id,", 1)}, what
"""  # noqa: S608 - as above
# The first event of its aggregate, if it has not been sent.
NEXT = f"""
    WITH head AS MATERIALIZED (
        SELECT id AS first, consumer AS its_consumer, aggregate AS its_aggregate FROM events_outbox
         WHERE (consumer, aggregate, id) >= (%(consumer)s, %(aggregate)s, 0)
         ORDER BY consumer, aggregate, id LIMIT 1)
    UPDATE events_outbox SET sends = 1, known = {UNKNOWN}, due_at = clock_timestamp() + make_interval(secs => {LOOK})
      FROM head WHERE id = first AND its_consumer = %(consumer)s AND its_aggregate = %(aggregate)s
       AND sends = 0 AND parked_at IS NULL
    RETURNING {_COLUMNS}
"""  # noqa: S608 - as above
# Only the newest copy counts: older ones pile up while a consumer is down, and would all fail at
# once if its first second up is a bad one. 0: answered by a consumer of an older release.
FAILED = f"""
    UPDATE events_outbox
       SET failures = failures + %(counts)s, error = %(error)s, known = {HEARD},
           due_at = clock_timestamp() + {_WAIT.format(least=0, longest=LONGEST)},
           parked_at = CASE WHEN failures + %(counts)s >= {FAILURES} THEN clock_timestamp() END
     WHERE event_id = %(event_id)s AND consumer = %(consumer)s AND parked_at IS NULL AND %(sends)s IN (0, sends)
    RETURNING parked_at
"""  # noqa: S608 - as above
RECEIVED = "DELETE FROM events_outbox WHERE event_id = %s AND consumer = %s RETURNING aggregate, bulk"
BACK = f"""
    UPDATE events_outbox SET sends = sends - 1, known = {HEARD}, due_at = clock_timestamp()
     WHERE id = ANY(%s) AND sends > 0
"""  # noqa: S608 - as above
# The consumers in the table, found one after the other and not by reading each row.
CONSUMERS = """
    WITH RECURSIVE found AS (
        (SELECT consumer FROM events_outbox WHERE parked_at IS NULL ORDER BY consumer LIMIT 1)
        UNION ALL
        SELECT (SELECT consumer FROM events_outbox WHERE parked_at IS NULL AND consumer > found.consumer
                 ORDER BY consumer LIMIT 1)
          FROM found WHERE found.consumer IS NOT NULL)
    SELECT consumer FROM found WHERE consumer IS NOT NULL
"""
