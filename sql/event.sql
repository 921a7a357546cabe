-- What happened, written in the same transaction; the outbox for applications.

CREATE TABLE billing.event (
    account_id  uuid NOT NULL REFERENCES billing.account,
    event_id    uuid NOT NULL UNIQUE,
    kind        text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    detail      jsonb NOT NULL DEFAULT '{}',
    origin      bigint NOT NULL,
    xid         xid8 NOT NULL,
    PRIMARY KEY (account_id, event_id)
);
CREATE INDEX event_transaction_idx ON billing.event (origin, xid);
COMMENT ON TABLE billing.event IS 'What happened to an account, written in the transaction that did it.';
COMMENT ON COLUMN billing.event.account_id IS 'The account.';
COMMENT ON COLUMN billing.event.event_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.event.kind IS 'What happened, such as subscription_expired or free_plan_assigned.';
COMMENT ON COLUMN billing.event.occurred_at IS 'When it was due, by the account''s clock.';
COMMENT ON COLUMN billing.event.detail IS 'The figures.';
COMMENT ON COLUMN billing.event.origin IS 'System identifier of the cluster whose transactions xid counts; a trigger sets it. Rows of a restored dump keep theirs, rows that arrive by replication get the receiver''s.';
COMMENT ON COLUMN billing.event.xid IS 'The transaction that wrote it; a trigger sets it.';

CREATE TABLE billing.event_consumer (
    consumer    text COLLATE "C" NOT NULL,
    origin      bigint NOT NULL,
    acked       pg_snapshot NOT NULL,
    batch       pg_snapshot NOT NULL,
    first_event uuid NOT NULL,
    through     uuid,
    PRIMARY KEY (consumer, origin)
);
COMMENT ON TABLE billing.event_consumer IS 'How far each consumer of events has come. Transactions that acked shows as ended are dealt with, of those that batch shows the events up to through.';
COMMENT ON COLUMN billing.event_consumer.consumer IS 'Name that the consumer gave itself.';
COMMENT ON COLUMN billing.event_consumer.origin IS 'Whose transactions the snapshots speak of: event.origin.';
COMMENT ON COLUMN billing.event_consumer.acked IS 'All events that this snapshot shows are acknowledged.';
COMMENT ON COLUMN billing.event_consumer.batch IS 'The events that this snapshot shows and acked does not are being handed out.';
COMMENT ON COLUMN billing.event_consumer.first_event IS 'The first of them by event_id.';
COMMENT ON COLUMN billing.event_consumer.through IS 'The last of them that was acknowledged; NULL: none.';

CREATE FUNCTION billing.next_events(consumer text, max_events bigint DEFAULT 100) RETURNS SETOF billing.event
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_next_events';
COMMENT ON FUNCTION billing.next_events(text, bigint) IS
'The next events that the consumer has not acknowledged, at most max_events, in the order of event_id; the events of an account come in the order in which they happened. Asked again before they are acknowledged: the same. A name seen for the first time begins with the oldest event. Events that committed late come later, none is left out. Several sessions may work for one consumer. Call it in FROM.
Errors: 22004 NULL; 22023 empty consumer or max_events not positive; 22001 consumer of more than 255 bytes; PB006 in a bound transaction.';

CREATE FUNCTION billing.ack_events(consumer text, through uuid) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_ack_events';
COMMENT ON FUNCTION billing.ack_events(text, uuid) IS
'Acknowledges the consumer''s events up to the one whose event_id is through; they are not handed to it again. Events are handed out by batches, each of what had committed when next_events began it. through may be any event of the batch, also one that next_events has not come to: a consumer that knows how far it was before says so, and all before it counts as dealt with. Again, or up to an earlier one: nothing happens.
Errors: 22004 NULL; 22023 empty consumer, or an event of no batch so far; 22001 consumer of more than 255 bytes; PB006 in a bound transaction; PB016 unknown event.';
