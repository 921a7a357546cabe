-- An account's holding of a plan, period by period.

CREATE TABLE billing.subscription (
    account_id      uuid NOT NULL REFERENCES billing.account,
    subscription_id uuid NOT NULL UNIQUE,
    plan            text COLLATE "C" NOT NULL REFERENCES billing.plan (code),
    kind            text COLLATE "C" NOT NULL,
    effective_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL DEFAULT 'infinity',
    anchor          timestamptz NOT NULL,
    anchor_duration interval,
    anchor_periods  bigint NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    canceled_at     timestamptz,
    void            boolean NOT NULL DEFAULT false,
    ended_at        timestamptz,
    replaced_by     uuid,
    started_at      timestamptz,
    announced       timestamptz,
    grant_ends_at   timestamptz,
    exhausted_entry_no bigint,
    PRIMARY KEY (account_id, subscription_id),
    CONSTRAINT subscription_time_check CHECK (effective_at < expires_at),
    CONSTRAINT subscription_kind_check CHECK (kind IN ('subscription', 'token')),
    CONSTRAINT subscription_no_overlap EXCLUDE USING gist (
        account_id WITH =, plan WITH =, tstzrange(effective_at, expires_at) WITH &&) WHERE (NOT void)
);
CREATE INDEX subscription_due_idx ON billing.subscription (expires_at) WHERE ended_at IS NULL AND NOT void;
CREATE INDEX subscription_announce_idx ON billing.subscription (expires_at)
    WHERE ended_at IS NULL AND NOT void AND announced IS DISTINCT FROM expires_at;
CREATE INDEX subscription_start_idx ON billing.subscription (effective_at) WHERE started_at IS NULL AND NOT void;
CREATE INDEX subscription_grant_end_idx ON billing.subscription (grant_ends_at)
    WHERE ended_at IS NULL AND NOT void AND grant_ends_at IS NOT NULL;
COMMENT ON TABLE billing.subscription IS 'An account''s holding of a plan over [effective_at, expires_at); its periods stand in subscription_period.';
COMMENT ON COLUMN billing.subscription.account_id IS 'The account.';
COMMENT ON COLUMN billing.subscription.subscription_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.subscription.plan IS 'The plan held.';
COMMENT ON COLUMN billing.subscription.kind IS 'The kind of the plan, repeated so that a check reads one row.';
COMMENT ON COLUMN billing.subscription.effective_at IS 'Start of its first period.';
COMMENT ON COLUMN billing.subscription.expires_at IS 'End of its last period, exclusive; infinity: none.';
COMMENT ON COLUMN billing.subscription.anchor IS 'From where the ends of periods are counted.';
COMMENT ON COLUMN billing.subscription.anchor_duration IS 'The duration counted from the anchor; NULL: none yet, or without end.';
COMMENT ON COLUMN billing.subscription.anchor_periods IS 'Periods counted from the anchor so far: the last one ends at anchor + anchor_periods × anchor_duration.';
COMMENT ON COLUMN billing.subscription.created_at IS 'When it was bought.';
COMMENT ON COLUMN billing.subscription.canceled_at IS 'When somebody cancelled it; NULL: nobody did.';
COMMENT ON COLUMN billing.subscription.void IS 'True: dropped before it began, never in force.';
COMMENT ON COLUMN billing.subscription.ended_at IS 'When its end was written down as an event; NULL: not yet. Access never waits for it.';
COMMENT ON COLUMN billing.subscription.replaced_by IS 'The subscription that took its place in an upgrade, or that is scheduled to follow it.';
COMMENT ON COLUMN billing.subscription.started_at IS 'When its start was written down as an event; NULL: not yet. Access never waits for it.';
COMMENT ON COLUMN billing.subscription.announced IS 'The end that the event subscription_expiring has told of; NULL: none. A renewal moves the end, which is told of anew.';
COMMENT ON COLUMN billing.subscription.grant_ends_at IS 'Of a token plan: the first end of its grants that was not looked at yet, as the plan may be lost by it before its own end; NULL: none ends. Access never waits for it.';
COMMENT ON COLUMN billing.subscription.exhausted_entry_no IS 'The newest entry of the account''s ledger when it was last told that the plan has no tokens; NULL: it never was. What was taken since is told of again.';

CREATE TABLE billing.subscription_period (
    account_id      uuid NOT NULL,
    subscription_id uuid NOT NULL,
    period_no       integer NOT NULL,
    plan            text COLLATE "C" NOT NULL,
    version         integer NOT NULL,
    kind            text COLLATE "C" NOT NULL,
    apps            text[] COLLATE "C",
    effective_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL DEFAULT 'infinity',
    void            boolean NOT NULL DEFAULT false,
    price           billing.amount,
    paid            billing.amount,
    order_id        uuid,
    grant_id        uuid,
    idempotency_key text COLLATE "C",
    created_at      timestamptz NOT NULL,
    credited        billing.amount,
    refunded        billing.amount,
    PRIMARY KEY (account_id, subscription_id, period_no),
    FOREIGN KEY (account_id, subscription_id) REFERENCES billing.subscription,
    FOREIGN KEY (plan, version) REFERENCES billing.plan_version,
    CONSTRAINT subscription_period_no_check CHECK (period_no > 0),
    CONSTRAINT subscription_period_time_check CHECK (effective_at < expires_at),
    CONSTRAINT subscription_period_paid_check CHECK (
        (credited IS NULL AND refunded IS NULL)
        OR (paid IS NOT NULL
            AND coalesce(billing.currency(credited), billing.currency(paid)) = billing.currency(paid)
            AND coalesce(billing.currency(refunded), billing.currency(paid)) = billing.currency(paid)
            AND coalesce(billing.minor_units(credited), 0) >= 0
            AND coalesce(billing.minor_units(refunded), 0) >= 0
            AND coalesce(billing.minor_units(credited), 0)::numeric + coalesce(billing.minor_units(refunded), 0)
                <= billing.minor_units(paid))),
    CONSTRAINT subscription_period_no_overlap EXCLUDE USING gist (
        account_id WITH =, plan WITH =, tstzrange(effective_at, expires_at) WITH &&) WHERE (NOT void)
);
CREATE UNIQUE INDEX subscription_period_idempotency_key ON billing.subscription_period
    (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX subscription_period_time_idx ON billing.subscription_period (account_id, expires_at);
COMMENT ON TABLE billing.subscription_period IS 'One period of a subscription: the version in force, what was paid, the grant that came with it. Checks read this table. Rows change only as periods are moved, cut or dropped, and their money credited or paid back.';
COMMENT ON COLUMN billing.subscription_period.account_id IS 'The account.';
COMMENT ON COLUMN billing.subscription_period.subscription_id IS 'The subscription.';
COMMENT ON COLUMN billing.subscription_period.period_no IS 'Counts from 1 within the subscription.';
COMMENT ON COLUMN billing.subscription_period.plan IS 'The plan held.';
COMMENT ON COLUMN billing.subscription_period.version IS 'The plan version in force during this period.';
COMMENT ON COLUMN billing.subscription_period.kind IS 'The kind of the plan.';
COMMENT ON COLUMN billing.subscription_period.apps IS 'The apps the version covers; NULL: every app.';
COMMENT ON COLUMN billing.subscription_period.effective_at IS 'Start, inclusive.';
COMMENT ON COLUMN billing.subscription_period.expires_at IS 'End, exclusive; infinity: none.';
COMMENT ON COLUMN billing.subscription_period.void IS 'True: dropped before it began, never in force.';
COMMENT ON COLUMN billing.subscription_period.price IS 'Price of the period when it was bought; NULL: none was set.';
COMMENT ON COLUMN billing.subscription_period.paid IS 'What was paid or credited for it; NULL: given without an order.';
COMMENT ON COLUMN billing.subscription_period.order_id IS 'The order that bought it; NULL: given without an order.';
COMMENT ON COLUMN billing.subscription_period.grant_id IS 'The token grant that came with it; NULL: none.';
COMMENT ON COLUMN billing.subscription_period.idempotency_key IS 'Key given to subscribe, if any.';
COMMENT ON COLUMN billing.subscription_period.created_at IS 'When it was bought.';
COMMENT ON COLUMN billing.subscription_period.credited IS 'What of paid was credited for the part not used, when it was replaced; NULL: nothing.';
COMMENT ON COLUMN billing.subscription_period.refunded IS 'What of paid was paid back; NULL: nothing.';

CREATE FUNCTION billing.subscribe(
    account_id uuid,
    plan text,
    effective_at timestamptz DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL,
    tokens bigint DEFAULT NULL,
    idempotency_key text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_subscribe';
COMMENT ON FUNCTION billing.subscribe(uuid, text, timestamptz, timestamptz, bigint, text) IS
'Gives an account a plan without an order, for administrators and imports; returns the subscription. effective_at NULL: renews if the plan is held, else begins now. expires_at NULL: by the plan''s duration. tokens: 1 or more; NULL: the plan''s. idempotency_key: the same request again returns the same subscription.
Errors: 22004 NULL account or plan; 22023 free plan, infinite times or times out of order, tokens not positive; 23P01 overlap with a subscription of the same plan, by the period or by what would move behind it; PB001 unknown account; PB002 suspended account; PB008 key used for another request; PB011 unknown or retired plan.';
