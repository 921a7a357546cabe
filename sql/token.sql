-- Tokens: grants, the ledger of every movement, checkpoints, holds.

CREATE TABLE billing.token_grant (
    account_id      uuid NOT NULL REFERENCES billing.account,
    grant_id        uuid NOT NULL UNIQUE,
    subscription_id uuid,
    app             text COLLATE "C" REFERENCES billing.app (code),
    tokens          bigint NOT NULL,
    priority        bigint NOT NULL DEFAULT 100,
    effective_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL DEFAULT 'infinity',
    granted_at      timestamptz NOT NULL,
    reason          text,
    idempotency_key text COLLATE "C",
    voided_at       timestamptz,
    PRIMARY KEY (account_id, grant_id),
    FOREIGN KEY (account_id, subscription_id) REFERENCES billing.subscription,
    CONSTRAINT token_grant_tokens_check CHECK (tokens > 0),
    CONSTRAINT token_grant_time_check CHECK (effective_at < expires_at)
);
CREATE INDEX token_grant_time_idx ON billing.token_grant (account_id, expires_at);
CREATE UNIQUE INDEX token_grant_idempotency_key ON billing.token_grant (account_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
COMMENT ON TABLE billing.token_grant IS 'Tokens bought or given. Rows change only by being voided, once, by going to the subscription that replaced their own, or with the times of their period.';
COMMENT ON COLUMN billing.token_grant.account_id IS 'The account.';
COMMENT ON COLUMN billing.token_grant.grant_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.token_grant.subscription_id IS 'The subscription that brought it; NULL: given on its own, which puts no plan in force.';
COMMENT ON COLUMN billing.token_grant.app IS 'The app it can be used for; NULL: every app.';
COMMENT ON COLUMN billing.token_grant.tokens IS 'Tokens granted.';
COMMENT ON COLUMN billing.token_grant.priority IS 'Lower is used first.';
COMMENT ON COLUMN billing.token_grant.effective_at IS 'From when it can be used.';
COMMENT ON COLUMN billing.token_grant.expires_at IS 'Until when it can be used, exclusive; infinity: for ever.';
COMMENT ON COLUMN billing.token_grant.granted_at IS 'When it was granted.';
COMMENT ON COLUMN billing.token_grant.reason IS 'Why it was granted.';
COMMENT ON COLUMN billing.token_grant.idempotency_key IS 'Key given to grant_tokens, if any; a namespace of its own.';
COMMENT ON COLUMN billing.token_grant.voided_at IS 'When it was taken back; NULL: it was not.';

CREATE TABLE billing.ledger (
    account_id      uuid NOT NULL,
    entry_no        bigint NOT NULL,
    grant_id        uuid NOT NULL,
    tokens          bigint NOT NULL,
    kind            text COLLATE "C" NOT NULL DEFAULT 'consume',
    occurred_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    app             text COLLATE "C",
    action          text COLLATE "C",
    user_id         uuid,
    idempotency_key text COLLATE "C",
    asked           bigint,
    answer          bigint,
    part_of         bigint,
    hold_id         uuid,
    refund_of       bigint,
    PRIMARY KEY (account_id, entry_no),
    FOREIGN KEY (account_id, grant_id) REFERENCES billing.token_grant,
    CONSTRAINT ledger_entry_no_check CHECK (entry_no > 0),
    CONSTRAINT ledger_kind_check CHECK (
        CASE
            WHEN kind IN ('consume', 'hold', 'void') THEN tokens > 0
            WHEN kind IN ('capture', 'release', 'lapse', 'refund') THEN tokens < 0
            ELSE false
        END)
);
CREATE UNIQUE INDEX ledger_idempotency_key ON billing.ledger (account_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX ledger_hold_idx ON billing.ledger (account_id, hold_id) WHERE hold_id IS NOT NULL;
CREATE UNIQUE INDEX ledger_refund_key ON billing.ledger (account_id, refund_of) WHERE refund_of IS NOT NULL;
CREATE INDEX ledger_void_idx ON billing.ledger (account_id, grant_id) WHERE kind = 'void';
COMMENT ON TABLE billing.ledger IS 'Append-only record of every token movement. What is left of a grant is its tokens minus the sum of tokens here.';
COMMENT ON COLUMN billing.ledger.account_id IS 'The account.';
COMMENT ON COLUMN billing.ledger.entry_no IS 'Ascending number within the account; numbers of rolled-back entries stay unused.';
COMMENT ON COLUMN billing.ledger.grant_id IS 'The grant the tokens leave or return to.';
COMMENT ON COLUMN billing.ledger.tokens IS 'Positive: taken from the grant; negative: returned to it.';
COMMENT ON COLUMN billing.ledger.kind IS 'consume, hold, void take; capture (the part of a hold not used), release, lapse, refund return.';
COMMENT ON COLUMN billing.ledger.occurred_at IS 'When it happened, by the account''s clock.';
COMMENT ON COLUMN billing.ledger.app IS 'The app it was asked for; NULL: none in particular.';
COMMENT ON COLUMN billing.ledger.action IS 'What the tokens were used for, in the application''s words.';
COMMENT ON COLUMN billing.ledger.user_id IS 'The account user who used them, as the application said.';
COMMENT ON COLUMN billing.ledger.idempotency_key IS 'Key of the request; on its first row only.';
COMMENT ON COLUMN billing.ledger.asked IS 'Tokens of the whole request, on its first row; NULL on the rows that continue it and on rows the extension did not write.';
COMMENT ON COLUMN billing.ledger.answer IS 'What remained, as answered; kept for requests with a key and for refunds.';
COMMENT ON COLUMN billing.ledger.part_of IS 'entry_no of the request''s first row, on the rows that continue it over further grants.';
COMMENT ON COLUMN billing.ledger.hold_id IS 'The hold whose tokens move.';
COMMENT ON COLUMN billing.ledger.refund_of IS 'On the first row of a refund: entry_no of the first row of what is refunded.';

CREATE TABLE billing.checkpoint (
    account_id       uuid NOT NULL,
    grant_id         uuid NOT NULL,
    through_entry_no bigint NOT NULL,
    consumed         bigint NOT NULL,
    entries          bigint NOT NULL,
    created_at       timestamptz NOT NULL,
    PRIMARY KEY (account_id, grant_id, through_entry_no),
    FOREIGN KEY (account_id, grant_id) REFERENCES billing.token_grant,
    CONSTRAINT checkpoint_consumed_check CHECK (consumed >= 0),
    CONSTRAINT checkpoint_entries_check CHECK (entries > 0)
);
CREATE INDEX checkpoint_through_idx ON billing.checkpoint (account_id, through_entry_no);
COMMENT ON TABLE billing.checkpoint IS 'Append-only sums of the ledger, so that a balance need not read all of it. The newest of an account says through which entry all its grants are summed.';
COMMENT ON COLUMN billing.checkpoint.account_id IS 'The account.';
COMMENT ON COLUMN billing.checkpoint.grant_id IS 'The grant.';
COMMENT ON COLUMN billing.checkpoint.through_entry_no IS 'Every entry of the grant up to this number is in the sum.';
COMMENT ON COLUMN billing.checkpoint.consumed IS 'Sum of ledger.tokens of the grant through that entry.';
COMMENT ON COLUMN billing.checkpoint.entries IS 'Number of ledger rows of the grant through that entry.';
COMMENT ON COLUMN billing.checkpoint.created_at IS 'When it was written.';

CREATE TABLE billing.low_balance (
    account_id uuid NOT NULL REFERENCES billing.account ON DELETE CASCADE,
    grant_id   uuid NOT NULL,
    told_at    timestamptz NOT NULL,
    PRIMARY KEY (account_id, grant_id)
);
COMMENT ON TABLE billing.low_balance IS 'Grants whose event low_balance was written, each once. Without its row a grant is told of again.';
COMMENT ON COLUMN billing.low_balance.account_id IS 'The account.';
COMMENT ON COLUMN billing.low_balance.grant_id IS 'The grant.';
COMMENT ON COLUMN billing.low_balance.told_at IS 'When the event was written, by the account''s clock.';

CREATE TABLE billing.low_balance_mark (
    single  boolean NOT NULL PRIMARY KEY DEFAULT true,
    through timestamptz NOT NULL,
    percent integer NOT NULL,
    CONSTRAINT low_balance_mark_single_check CHECK (single)
);
COMMENT ON TABLE billing.low_balance_mark IS 'How far the ledger has been looked through for grants that ran low: after a restart only accounts used since are looked at. Without its row all of them are.';
COMMENT ON COLUMN billing.low_balance_mark.single IS 'True: there is one row at most.';
COMMENT ON COLUMN billing.low_balance_mark.through IS 'Whatever was taken before has been looked at.';
COMMENT ON COLUMN billing.low_balance_mark.percent IS 'The billing.low_balance_percent it was looked at with.';

CREATE TABLE billing.hold (
    account_id uuid NOT NULL REFERENCES billing.account,
    hold_id    uuid NOT NULL UNIQUE,
    tokens     bigint NOT NULL,
    app        text COLLATE "C",
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended      boolean NOT NULL DEFAULT false,
    PRIMARY KEY (account_id, hold_id),
    CONSTRAINT hold_tokens_check CHECK (tokens > 0),
    CONSTRAINT hold_time_check CHECK (created_at < expires_at)
);
CREATE INDEX hold_due_idx ON billing.hold (expires_at) WHERE NOT ended;
CREATE INDEX hold_open_idx ON billing.hold (account_id, expires_at) WHERE NOT ended;
COMMENT ON TABLE billing.hold IS 'Tokens set aside for work whose size is not known yet; the ledger says from which grants.';
COMMENT ON COLUMN billing.hold.account_id IS 'The account.';
COMMENT ON COLUMN billing.hold.hold_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.hold.tokens IS 'Tokens set aside.';
COMMENT ON COLUMN billing.hold.app IS 'The app it was asked for; NULL: none in particular.';
COMMENT ON COLUMN billing.hold.created_at IS 'When they were set aside.';
COMMENT ON COLUMN billing.hold.expires_at IS 'Until when the hold can be captured, exclusive.';
COMMENT ON COLUMN billing.hold.ended IS 'Whether its ending is written; kept so that open holds can be found by an index.';

CREATE TABLE billing.hold_end (
    account_id uuid NOT NULL,
    hold_id    uuid NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    tokens     bigint NOT NULL,
    answer     bigint,
    ended_at   timestamptz NOT NULL,
    PRIMARY KEY (account_id, hold_id),
    FOREIGN KEY (account_id, hold_id) REFERENCES billing.hold,
    CONSTRAINT hold_end_kind_check CHECK (kind IN ('captured', 'released', 'lapsed')),
    CONSTRAINT hold_end_tokens_check CHECK (CASE kind WHEN 'captured' THEN tokens > 0 ELSE tokens = 0 END),
    CONSTRAINT hold_end_answer_check CHECK (answer IS NOT NULL OR kind = 'lapsed')
);
COMMENT ON TABLE billing.hold_end IS 'How a hold ended: one row, whoever comes first.';
COMMENT ON COLUMN billing.hold_end.account_id IS 'The account.';
COMMENT ON COLUMN billing.hold_end.hold_id IS 'The hold.';
COMMENT ON COLUMN billing.hold_end.kind IS 'captured, released or lapsed.';
COMMENT ON COLUMN billing.hold_end.tokens IS 'Tokens used of those held; zero unless captured.';
COMMENT ON COLUMN billing.hold_end.answer IS 'What remained, as answered; NULL: the hold lapsed, and nobody was answered.';
COMMENT ON COLUMN billing.hold_end.ended_at IS 'When, by the account''s clock.';

CREATE TYPE billing.consumption AS (
    granted boolean,
    reason text,
    tokens_remaining bigint,
    replayed boolean
);
COMMENT ON TYPE billing.consumption IS 'The answer of try_consume_tokens.';
COMMENT ON COLUMN billing.consumption.granted IS 'Whether the tokens were taken.';
COMMENT ON COLUMN billing.consumption.reason IS 'allowed, or why not.';
COMMENT ON COLUMN billing.consumption.tokens_remaining IS 'What remains for the same app.';
COMMENT ON COLUMN billing.consumption.replayed IS 'Whether this is the stored answer of an earlier request with the same key.';

CREATE FUNCTION billing.grant_tokens(
    account_id uuid,
    tokens bigint,
    expires_at timestamptz DEFAULT NULL,
    priority bigint DEFAULT 100,
    app text DEFAULT NULL,
    reason text DEFAULT NULL,
    subscription_id uuid DEFAULT NULL,
    idempotency_key text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_grant_tokens';
COMMENT ON FUNCTION billing.grant_tokens(uuid, bigint, timestamptz, bigint, text, text, uuid, text) IS
'Gives tokens that can be used from now until expires_at; returns the grant. tokens: 1 or more. expires_at: later than now; NULL: when the subscription ends, or never without one. priority: lower is used first. app: NULL: every app. subscription_id: the subscription they count for. idempotency_key: a namespace of its own; the same request again returns the same grant.
Errors: 22004 NULL account, tokens or priority; 22023 out of range; 22001 too long; PB001 unknown account; PB002 suspended account; PB008 key used for another request; PB016 unknown app or subscription.';

CREATE FUNCTION billing.consume_tokens(
    account_id uuid,
    tokens bigint,
    app text DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    action text DEFAULT NULL,
    user_id uuid DEFAULT NULL
) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_consume_tokens';
COMMENT ON FUNCTION billing.consume_tokens(uuid, bigint, text, text, text, uuid) IS
'Takes tokens from the grants of the app and of no app; returns what remains for the same app, at least: what came back from holds that are over may be missing until that is written. tokens: 1 or more. app NULL: from grants of no app only. idempotency_key: 1 to 255 bytes, never expires; the same request again returns the first answer and takes nothing. action: what they are used for, at most 255 bytes. user_id: who uses them.
Errors: PB001 to PB007 and PB013 by the reason of the denial; PB008 key used for another request; PB016 unknown app; 22004 NULL account or tokens; 22023 tokens not positive, malformed app; 22001 too long.';

CREATE FUNCTION billing.try_consume_tokens(
    account_id uuid,
    tokens bigint,
    app text DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    action text DEFAULT NULL,
    user_id uuid DEFAULT NULL
) RETURNS billing.consumption
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_try_consume_tokens';
COMMENT ON FUNCTION billing.try_consume_tokens(uuid, bigint, text, text, text, uuid) IS
'As consume_tokens, but a denial is data. Call it in FROM: (f()).* would call it once per column.
Errors: PB008, PB016, 22004, 22023 and 22001 as consume_tokens.';

CREATE FUNCTION billing.consume_tokens_batch(
    account_ids uuid[],
    tokens bigint[],
    apps text[] DEFAULT NULL,
    idempotency_keys text[] DEFAULT NULL,
    actions text[] DEFAULT NULL,
    ordinals bigint[] DEFAULT NULL,
    OUT ordinal bigint,
    OUT granted boolean,
    OUT reason text,
    OUT tokens_remaining bigint,
    OUT replayed boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_consume_tokens_batch';
COMMENT ON FUNCTION billing.consume_tokens_batch(uuid[], bigint[], text[], text[], text[], bigint[]) IS
'try_consume_tokens for each item; answers, and the items of one account, are in input order. Call it in FROM. ordinals: names of the items; NULL: 1, 2, …. Any error undoes the whole batch.
Errors: 22004 NULL account_ids or tokens; 2202E lengths or dimensions that differ, NULL in account_ids, tokens or ordinals; PB008, PB016, 22023 and 22001 as consume_tokens.';

CREATE FUNCTION billing.tokens_remaining(account_id uuid, app text DEFAULT NULL) RETURNS bigint
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_tokens_remaining';
COMMENT ON FUNCTION billing.tokens_remaining(uuid, text) IS
'What a consumption with the same app could take now: grants of the app and of no app; with app NULL of no app only. A hold that is over keeps nothing, written or not. 0 for a NULL or unknown account. Raises nothing.';

CREATE FUNCTION billing.hold_tokens(
    account_id uuid,
    tokens bigint,
    expires_in interval DEFAULT '15 minutes',
    app text DEFAULT NULL,
    idempotency_key text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_hold_tokens';
COMMENT ON FUNCTION billing.hold_tokens(uuid, bigint, interval, text, text) IS
'Sets tokens aside for work whose size is not known yet; returns the hold. tokens: 1 or more. expires_in: more than nothing; from then on the hold keeps nothing, written or not. app, idempotency_key: as consume_tokens, whose keys share one namespace with these.
Errors: those of consume_tokens; 22004 NULL account, tokens or expires_in; 22023 expires_in not positive.';

CREATE FUNCTION billing.capture_hold(hold_id uuid, tokens bigint DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_capture_hold';
COMMENT ON FUNCTION billing.capture_hold(uuid, bigint) IS
'Uses tokens of a hold and returns the rest to the grants they came from; answers what remains for the hold''s app. tokens: 1 to what is held; NULL: all. The same again: the same answer. Possible until the hold''s own expiry, even after the grant''s, and while the account is suspended.
Errors: 22004 NULL hold; 22023 tokens not positive or more than are held; PB009 ended otherwise, or lapsed; PB016 unknown hold.';

CREATE FUNCTION billing.release_hold(hold_id uuid) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_release_hold';
COMMENT ON FUNCTION billing.release_hold(uuid) IS
'Returns all tokens of a hold to the grants they came from; answers what remains for the hold''s app. The same again: the same answer.
Errors: 22004 NULL; PB009 captured or lapsed; PB016 unknown hold.';

CREATE FUNCTION billing.refund_tokens(account_id uuid, idempotency_key text, tokens bigint DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_refund_tokens';
COMMENT ON FUNCTION billing.refund_tokens(uuid, text, bigint) IS
'Returns tokens of the consumption made with that key to the grants they came from, the last drawn first; answers what remains for its app. tokens: 1 to what was consumed; NULL: all. One refund for a key; the same again: the same answer. To an expired or voided grant they are booked but not usable.
Errors: 22004 NULL account or key; 22023 tokens not positive or more than were consumed; PB001 unknown account; PB002 suspended account; PB008 refunded with another amount; PB016 no such consumption.';

CREATE FUNCTION billing.void_grant(grant_id uuid) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_void_grant';
COMMENT ON FUNCTION billing.void_grant(uuid) IS
'Takes back what is left of a grant; returns the tokens taken back, 0 if it was voided before. What is held stays held.
Errors: 22004 NULL; PB016 unknown grant.';

CREATE FUNCTION billing.verify_ledger(INOUT account_id uuid DEFAULT NULL, OUT problem text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_verify_ledger';
COMMENT ON FUNCTION billing.verify_ledger(uuid) IS
'Recomputes everything that was summed or derived from the ledger, and compares the money that came in with where it is, of one account or (NULL) of all; no row: all sound. Reads the whole ledger.';

CREATE FUNCTION billing.write_checkpoint(account_id uuid) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_write_checkpoint';
COMMENT ON FUNCTION billing.write_checkpoint(uuid) IS
'Sums the account''s ledger now; returns the entry_no through which it goes, 0 if there was nothing to sum. The background worker does so every billing.checkpoint_entries; where none comes, who consumes.
Errors: 22004 NULL; PB001 unknown account.';

CREATE FUNCTION billing.engine_counters(OUT name text, OUT value bigint) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'billing_engine_counters';
COMMENT ON FUNCTION billing.engine_counters() IS
'What the token engine did since the server started, in all databases. No row without shared_preload_libraries.';

CREATE VIEW billing.engine_status AS SELECT name, value FROM billing.engine_counters();
COMMENT ON VIEW billing.engine_status IS 'Counters of the token engine in shared memory, since the server started.';
COMMENT ON COLUMN billing.engine_status.name IS 'entries (in use), entries_max, bytes_per_entry; takes, denials_without_scan, builds, waits (for another transaction), from_ledger (requests decided under the exclusive lock), evictions, retirements, checkpoints.';
COMMENT ON COLUMN billing.engine_status.value IS 'The figure.';
