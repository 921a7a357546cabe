-- What happened, written in the same transaction; the outbox for applications.

CREATE TABLE billing.event (
    account_id  uuid NOT NULL REFERENCES billing.account,
    event_id    uuid NOT NULL UNIQUE,
    kind        text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    detail      jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (account_id, event_id)
);
COMMENT ON TABLE billing.event IS 'What happened to an account, written in the transaction that did it.';
COMMENT ON COLUMN billing.event.account_id IS 'The account.';
COMMENT ON COLUMN billing.event.event_id IS 'Time-ordered uuid that ends in the account''s bucket byte.';
COMMENT ON COLUMN billing.event.kind IS 'What happened, such as subscription_expired or free_plan_assigned.';
COMMENT ON COLUMN billing.event.occurred_at IS 'When it was due, by the account''s clock.';
COMMENT ON COLUMN billing.event.detail IS 'The figures.';
