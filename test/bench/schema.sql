-- What a user would write by hand, on tables with the columns and indexes of the extension's.

CREATE SCHEMA rival;

CREATE TABLE rival.ledger (LIKE billing.ledger INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE SEQUENCE rival.entry_no CACHE 32;

CREATE TABLE rival.balance (
    account_id uuid PRIMARY KEY,
    grant_id uuid NOT NULL,
    remaining bigint NOT NULL CHECK (remaining >= 0)
) WITH (fillfactor = 50);

-- The rules by hand: a balance that cannot go below zero, a ledger, keys that are safe to retry.
CREATE FUNCTION rival.consume(account uuid, wanted bigint, key text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    stored rival.ledger;
    source uuid;
    rest bigint;
BEGIN
    IF key IS NOT NULL THEN
        SELECT * INTO stored FROM rival.ledger WHERE account_id = account AND idempotency_key = key;
        IF FOUND THEN
            IF stored.asked <> wanted THEN
                RAISE EXCEPTION 'idempotency key was used for another request';
            END IF;
            RETURN stored.answer;
        END IF;
    END IF;
    UPDATE rival.balance SET remaining = remaining - wanted
     WHERE account_id = account AND remaining >= wanted
    RETURNING remaining, grant_id INTO rest, source;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tokens are exhausted';
    END IF;
    INSERT INTO rival.ledger (account_id, entry_no, grant_id, tokens, kind, occurred_at,
                              idempotency_key, asked, answer)
    VALUES (account, nextval('rival.entry_no'), source, wanted, 'consume', clock_timestamp(), key,
            wanted, CASE WHEN key IS NOT NULL THEN rest END);
    RETURN rest;
END $$;

-- plan_is_active by hand, with the same answer: not suspended, in its time by the account's clock,
-- and for a token plan while a grant of its own has tokens.
CREATE VIEW rival.active AS
SELECT a.account_id,
       a.suspended_at IS NULL AND EXISTS (
           SELECT FROM billing.subscription_period p
            WHERE p.account_id = a.account_id
              AND p.expires_at > coalesce(a.test_clock, statement_timestamp())
              AND p.effective_at <= coalesce(a.test_clock, statement_timestamp())
              AND NOT p.void
              AND (p.kind = 'subscription' OR EXISTS (
                  SELECT FROM billing.token_grant g
                   WHERE g.account_id = p.account_id AND g.subscription_id = p.subscription_id
                     AND g.expires_at > coalesce(a.test_clock, statement_timestamp())
                     AND g.effective_at <= coalesce(a.test_clock, statement_timestamp())
                     AND g.voided_at IS NULL
                     AND g.tokens > coalesce((SELECT sum(l.tokens) FROM billing.ledger l
                                               WHERE l.account_id = g.account_id
                                                 AND l.grant_id = g.grant_id), 0)))) AS active
  FROM billing.account a;

CREATE FUNCTION rival.plan_is_active(account uuid) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce((SELECT active FROM rival.active WHERE account_id = account), false);
END $$;
