-- From "pay now" to an account that is active again: orders, payments, refunds, account credit.

CREATE TABLE billing.plan_order (
    account_id      uuid NOT NULL REFERENCES billing.account,
    order_id        uuid NOT NULL UNIQUE,
    action          text COLLATE "C" NOT NULL,
    timing          text COLLATE "C" NOT NULL,
    at_period_end   boolean NOT NULL,
    plan            text COLLATE "C" NOT NULL,
    version         integer NOT NULL,
    price           billing.amount NOT NULL,
    credit          billing.amount NOT NULL,
    account_credit  billing.amount NOT NULL,
    due             billing.amount NOT NULL,
    subject_id      uuid,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    status          text COLLATE "C" NOT NULL DEFAULT 'open',
    closed_at       timestamptz,
    subscription_id uuid,
    idempotency_key text COLLATE "C",
    PRIMARY KEY (account_id, order_id),
    FOREIGN KEY (plan, version) REFERENCES billing.plan_version,
    CONSTRAINT plan_order_action_check CHECK (action IN ('buy', 'renew', 'upgrade', 'downgrade')),
    CONSTRAINT plan_order_timing_check CHECK (timing IN ('immediate', 'period_end')),
    CONSTRAINT plan_order_subject_check CHECK ((action = 'buy') = (subject_id IS NULL)),
    CONSTRAINT plan_order_time_check CHECK (created_at < expires_at),
    CONSTRAINT plan_order_amount_check CHECK (
        billing.minor_units(price) >= 0 AND billing.minor_units(credit) >= 0
        AND billing.minor_units(account_credit) >= 0
        AND billing.currency(credit) = billing.currency(price)
        AND billing.currency(account_credit) = billing.currency(price)
        AND billing.currency(due) = billing.currency(price)
        AND billing.minor_units(due) = greatest(billing.minor_units(price)::numeric
            - billing.minor_units(credit) - billing.minor_units(account_credit), 0)),
    CONSTRAINT plan_order_status_check CHECK (
        CASE status
            WHEN 'open' THEN closed_at IS NULL AND subscription_id IS NULL
            WHEN 'paid' THEN closed_at IS NOT NULL AND subscription_id IS NOT NULL
            WHEN 'lapsed' THEN closed_at IS NOT NULL AND subscription_id IS NULL
            WHEN 'closed' THEN closed_at IS NOT NULL AND subscription_id IS NULL
            ELSE false
        END)
);
CREATE UNIQUE INDEX plan_order_idempotency_key ON billing.plan_order (account_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX plan_order_open_idx ON billing.plan_order (account_id, expires_at) WHERE status = 'open';
CREATE INDEX plan_order_due_idx ON billing.plan_order (expires_at) WHERE closed_at IS NULL;
COMMENT ON TABLE billing.plan_order IS 'What is to be paid: a plan version, its price and the credit against it, pinned until the order lapses. Rows change once, from open to their end.';
COMMENT ON COLUMN billing.plan_order.account_id IS 'The account that buys.';
COMMENT ON COLUMN billing.plan_order.order_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.plan_order.action IS 'buy, renew, upgrade or downgrade, as it was when the order was made.';
COMMENT ON COLUMN billing.plan_order.timing IS 'As asked for: immediate or period_end.';
COMMENT ON COLUMN billing.plan_order.at_period_end IS 'True: it begins where what it replaces ends; false: when it is paid.';
COMMENT ON COLUMN billing.plan_order.plan IS 'The plan ordered.';
COMMENT ON COLUMN billing.plan_order.version IS 'Its version, whatever is revised or retired until it is paid.';
COMMENT ON COLUMN billing.plan_order.price IS 'Price of the period.';
COMMENT ON COLUMN billing.plan_order.credit IS 'Credit for the unused part of what it replaces; what exceeds the price becomes account credit.';
COMMENT ON COLUMN billing.plan_order.account_credit IS 'Account credit that pays for a part: set aside while the order is open, spent when it is paid.';
COMMENT ON COLUMN billing.plan_order.due IS 'What is left to pay: price less both credits, at least zero.';
COMMENT ON COLUMN billing.plan_order.subject_id IS 'The subscription that is renewed or replaced; NULL: bought alongside.';
COMMENT ON COLUMN billing.plan_order.created_at IS 'When it was made, by the account''s clock.';
COMMENT ON COLUMN billing.plan_order.expires_at IS 'When it lapses unless it is paid, exclusive.';
COMMENT ON COLUMN billing.plan_order.status IS 'open; paid: in force or scheduled; lapsed: not paid in time; closed: overtaken by another order or a refund. An open order past expires_at is lapsed, whether that is written or not.';
COMMENT ON COLUMN billing.plan_order.closed_at IS 'When it ceased to be open; NULL: it has not.';
COMMENT ON COLUMN billing.plan_order.subscription_id IS 'The subscription it led to; NULL unless paid.';
COMMENT ON COLUMN billing.plan_order.idempotency_key IS 'Key given to order_plan, if any; a namespace of its own.';

-- The period is the one side of a circle that pg_dump must not see: orders are loaded first.
ALTER TABLE billing.subscription_period
    ADD CONSTRAINT subscription_period_order_fkey FOREIGN KEY (account_id, order_id) REFERENCES billing.plan_order;
CREATE INDEX subscription_period_order_idx ON billing.subscription_period (account_id, order_id)
    WHERE order_id IS NOT NULL;

CREATE TABLE billing.order_credit (
    account_id      uuid NOT NULL,
    order_id        uuid NOT NULL,
    subscription_id uuid NOT NULL,
    period_no       integer NOT NULL,
    amount          billing.amount NOT NULL,
    PRIMARY KEY (account_id, order_id, subscription_id, period_no),
    FOREIGN KEY (account_id, order_id) REFERENCES billing.plan_order,
    FOREIGN KEY (account_id, subscription_id, period_no) REFERENCES billing.subscription_period,
    CONSTRAINT order_credit_amount_check CHECK (billing.minor_units(amount) >= 0)
);
COMMENT ON TABLE billing.order_credit IS 'What an order promises to credit for each unfinished period that it replaces.';
COMMENT ON COLUMN billing.order_credit.account_id IS 'The account.';
COMMENT ON COLUMN billing.order_credit.order_id IS 'The order.';
COMMENT ON COLUMN billing.order_credit.subscription_id IS 'The subscription that is replaced.';
COMMENT ON COLUMN billing.order_credit.period_no IS 'Its period.';
COMMENT ON COLUMN billing.order_credit.amount IS 'floor(paid × min(share of time unused, share of its tokens unused)) when the order was made.';

CREATE TABLE billing.payment (
    account_id   uuid NOT NULL,
    payment_id   uuid NOT NULL UNIQUE,
    order_id     uuid NOT NULL,
    provider     text COLLATE "C" NOT NULL,
    provider_ref text COLLATE "C" NOT NULL,
    amount       billing.amount NOT NULL,
    tax          billing.amount,
    reason       text COLLATE "C" NOT NULL,
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, payment_id),
    FOREIGN KEY (account_id, order_id) REFERENCES billing.plan_order,
    CONSTRAINT payment_reference_key UNIQUE (provider, provider_ref),
    CONSTRAINT payment_reason_check CHECK (reason IN ('accepted', 'payment_mismatch', 'order_closed')),
    CONSTRAINT payment_amount_check CHECK (
        billing.minor_units(amount) >= 0
        AND (tax IS NULL OR (billing.currency(tax) = billing.currency(amount)
             AND billing.minor_units(tax) BETWEEN 0 AND billing.minor_units(amount))))
);
CREATE INDEX payment_order_idx ON billing.payment (account_id, order_id);
CREATE INDEX payment_received_idx ON billing.payment (received_at);
COMMENT ON TABLE billing.payment IS 'What the provider says was paid: one row a notice, whatever became of it.';
COMMENT ON COLUMN billing.payment.account_id IS 'The account.';
COMMENT ON COLUMN billing.payment.payment_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.payment.order_id IS 'The order it was meant for.';
COMMENT ON COLUMN billing.payment.provider IS 'Who says so, such as a payment service.';
COMMENT ON COLUMN billing.payment.provider_ref IS 'The provider''s own reference; the same one twice is the same payment.';
COMMENT ON COLUMN billing.payment.amount IS 'What was paid.';
COMMENT ON COLUMN billing.payment.tax IS 'The part of it that is tax, where the provider says.';
COMMENT ON COLUMN billing.payment.reason IS 'accepted: it paid its order; payment_mismatch: not the amount or currency that was due, it pays for nothing; order_closed: it became account credit.';
COMMENT ON COLUMN billing.payment.received_at IS 'When it was recorded, by the account''s clock.';

CREATE TABLE billing.payment_refund (
    account_id   uuid NOT NULL,
    refund_id    uuid NOT NULL UNIQUE,
    payment_id   uuid NOT NULL,
    provider     text COLLATE "C" NOT NULL,
    provider_ref text COLLATE "C" NOT NULL,
    amount       billing.amount NOT NULL,
    end_access   boolean NOT NULL,
    refunded_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, refund_id),
    FOREIGN KEY (account_id, payment_id) REFERENCES billing.payment,
    CONSTRAINT payment_refund_reference_key UNIQUE (provider, provider_ref),
    CONSTRAINT payment_refund_amount_check CHECK (billing.minor_units(amount) > 0)
);
CREATE INDEX payment_refund_payment_idx ON billing.payment_refund (account_id, payment_id);
CREATE INDEX payment_refund_refunded_idx ON billing.payment_refund (refunded_at);
COMMENT ON TABLE billing.payment_refund IS 'What the provider says was paid back.';
COMMENT ON COLUMN billing.payment_refund.account_id IS 'The account.';
COMMENT ON COLUMN billing.payment_refund.refund_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.payment_refund.payment_id IS 'The payment; its refunds never exceed it.';
COMMENT ON COLUMN billing.payment_refund.provider IS 'Who says so.';
COMMENT ON COLUMN billing.payment_refund.provider_ref IS 'The provider''s own reference of the refund; a namespace apart from payments.';
COMMENT ON COLUMN billing.payment_refund.amount IS 'What was paid back.';
COMMENT ON COLUMN billing.payment_refund.end_access IS 'Whether the period that the payment bought ended with it.';
COMMENT ON COLUMN billing.payment_refund.refunded_at IS 'When it was recorded, by the account''s clock.';

CREATE TABLE billing.account_credit (
    account_id uuid NOT NULL REFERENCES billing.account,
    credit_id  uuid NOT NULL UNIQUE,
    amount     billing.amount NOT NULL,
    reason     text COLLATE "C" NOT NULL,
    order_id   uuid,
    payment_id uuid,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, credit_id),
    FOREIGN KEY (account_id, order_id) REFERENCES billing.plan_order,
    FOREIGN KEY (account_id, payment_id) REFERENCES billing.payment,
    CONSTRAINT account_credit_amount_check CHECK (
        CASE
            WHEN reason IN ('excess', 'order_closed', 'dropped') THEN billing.minor_units(amount) > 0
            WHEN reason IN ('order', 'refund') THEN billing.minor_units(amount) < 0
            ELSE false
        END)
);
COMMENT ON TABLE billing.account_credit IS 'Append-only record of money that the account has left for later orders; per currency the rows add up to zero or more.';
COMMENT ON COLUMN billing.account_credit.account_id IS 'The account.';
COMMENT ON COLUMN billing.account_credit.credit_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.account_credit.amount IS 'Positive: credited; negative: spent or paid back.';
COMMENT ON COLUMN billing.account_credit.reason IS 'excess: credit beyond the price of an order; order_closed: a payment for a closed order; dropped: a scheduled plan was dropped; order: spent on one; refund: paid back.';
COMMENT ON COLUMN billing.account_credit.order_id IS 'The order that brought or spent it, if any.';
COMMENT ON COLUMN billing.account_credit.payment_id IS 'The payment that brought it or was refunded from it, if any.';
COMMENT ON COLUMN billing.account_credit.created_at IS 'When, by the account''s clock.';

CREATE TYPE billing.receipt AS (
    payment_id uuid,
    accepted boolean,
    reason text,
    subscription_id uuid,
    replayed boolean
);
COMMENT ON TYPE billing.receipt IS 'The answer of record_payment.';
COMMENT ON COLUMN billing.receipt.payment_id IS 'The payment recorded; NULL: none, the reference belongs to another notice.';
COMMENT ON COLUMN billing.receipt.accepted IS 'Whether it paid the order.';
COMMENT ON COLUMN billing.receipt.reason IS 'accepted; payment_mismatch: recorded, but it pays for nothing; order_closed: it became account credit; reference_reused: another notice has this reference, nothing was recorded.';
COMMENT ON COLUMN billing.receipt.subscription_id IS 'The subscription that it brought or extended; NULL: none.';
COMMENT ON COLUMN billing.receipt.replayed IS 'Whether an earlier notice had recorded it; all else is the same then.';

CREATE FUNCTION billing.quote_plan(
    account_id uuid,
    plan text,
    timing text DEFAULT 'immediate',
    OUT action text,
    OUT price billing.amount,
    OUT credit billing.amount,
    OUT due billing.amount,
    OUT effective_at timestamptz,
    OUT expires_at timestamptz,
    OUT account_credit billing.amount,
    OUT subscription_id uuid
) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_quote_plan';
COMMENT ON FUNCTION billing.quote_plan(uuid, text, text) IS
'What order_plan would do now, without doing it. action: renew if the plan is held; upgrade or downgrade if one in force of the same kind and the same apps is replaced; else buy. credit: for the unused part of what is replaced, and what account credit pays; it may exceed the price. due: price less credit, at least zero. effective_at and expires_at: of the period, if it were paid now; NULL expires_at: without end. account_credit: the part of credit that is account credit. subscription_id: what is renewed or replaced. timing: immediate, or period_end to replace at the end of the current period, or to renew what is given for later, which is not held before it begins. Call it in FROM.
Errors: 22004 NULL; 22023 the free plan, another timing, period_end after a plan without end, a renewal without end before a plan that is to follow; 22001 plan or timing too long; 23P01 a subscription of the same plan, given for later, is in the way, or one is in the way of the plan that is to follow; PB001 unknown account; PB002 closed account; PB011 unknown or retired plan or one without a price; PB015 an immediate change to another currency.';

CREATE FUNCTION billing.order_plan(
    account_id uuid,
    plan text,
    timing text DEFAULT 'immediate',
    idempotency_key text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_order_plan';
COMMENT ON FUNCTION billing.order_plan(uuid, text, text, text) IS
'Orders a plan at the terms that quote_plan tells, pinned for billing.order_lifetime; returns the order. Nothing changes until it is paid, unless nothing is due: then it is in force at once, or the order is closed if its terms ended while it waited for those who spend. idempotency_key: the same request again returns the same order. Works in a suspended account.
Errors: those of quote_plan; PB008 key used for another request; 22023 or 22001 malformed key.';

CREATE FUNCTION billing.record_payment(
    order_id uuid,
    provider text,
    provider_ref text,
    amount billing.amount,
    tax billing.amount DEFAULT NULL
) RETURNS billing.receipt
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_record_payment';
COMMENT ON FUNCTION billing.record_payment(uuid, text, text, billing.amount, billing.amount) IS
'Records what a provider says was paid for an order, and does what was ordered if it is the amount due. The same notice again (provider and provider_ref; order and amount the same) changes nothing and answers the same, with replayed true. A well-formed notice for a known order never raises: what cannot be accepted is recorded and told. Where what was ordered cannot be had any more, the order is closed and the money becomes account credit. provider, provider_ref: 1 to 255 bytes. tax: the part of amount that is tax; not compared in repetitions. Works in a suspended account. Call it in FROM: (f()).* would call it once per column.
Errors: 22004 NULL but for tax; 22023 or 22001 malformed provider or provider_ref; PB015 negative amount, tax that is negative, more than the amount or in another currency; PB016 unknown order.';

CREATE FUNCTION billing.record_refund(
    payment_id uuid,
    provider text,
    provider_ref text,
    amount billing.amount,
    end_access boolean DEFAULT false
) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_record_refund';
COMMENT ON FUNCTION billing.record_refund(uuid, text, text, billing.amount, boolean) IS
'Records what a provider paid back of a payment, at most what was paid; returns the refund. It is taken from where the money went: the period bought, those it was credited to, account credit, other periods. Open orders that count on what was taken are closed. end_access: the period that the payment bought ends now and its unused tokens are voided; later periods move up; one of a token plan stays where tokens of other payments need it. provider, provider_ref: 1 to 255 bytes; the same refund again returns the same id.
Errors: 22004 NULL; 22023 or 22001 malformed provider or provider_ref; PB008 reference of another refund; PB015 amount that is not positive, in another currency or more than what is left of the payment; PB016 unknown payment.';

CREATE FUNCTION billing.cancel_subscription(subscription_id uuid, at_period_end boolean DEFAULT true) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'billing_cancel_subscription';
COMMENT ON FUNCTION billing.cancel_subscription(uuid, boolean) IS
'at_period_end true: drops what is scheduled, that is a plan that was to follow, whose price becomes account credit; the subscription stays in force to the end of what is paid. Of one that has not begun all is dropped. false: ends it now and voids its tokens; moves no money; what is scheduled to follow begins now, or at its time where another subscription of its plan is in the way. One that is over stays as it is. Nothing renews by itself; renewing takes a cancellation back.
Errors: 22004 NULL; PB016 unknown subscription.';

CREATE TRIGGER changes BEFORE UPDATE ON billing.plan_order
    FOR EACH ROW EXECUTE FUNCTION billing.guard_order();
CREATE TRIGGER immutable BEFORE DELETE ON billing.plan_order
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.plan_order
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.order_credit
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.order_credit
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.payment
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.payment
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.payment_refund
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.payment_refund
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.account_credit
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.account_credit
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();

ALTER TABLE billing.plan_order ENABLE ALWAYS TRIGGER changes;
ALTER TABLE billing.plan_order ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.plan_order ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.order_credit ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.order_credit ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.payment ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.payment ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.payment_refund ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.payment_refund ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.account_credit ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.account_credit ENABLE ALWAYS TRIGGER no_truncate;
