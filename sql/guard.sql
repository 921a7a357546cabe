-- Triggers that hold the rules against plain DML, also where rows arrive by replication.

CREATE FUNCTION billing.guard_immutable() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_immutable';
COMMENT ON FUNCTION billing.guard_immutable() IS 'Trigger: refuses UPDATE, DELETE and TRUNCATE with PB012.';

CREATE FUNCTION billing.guard_grant() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_grant';
COMMENT ON FUNCTION billing.guard_grant() IS 'Trigger: a grant may be voided once, go to the subscription that replaced its own, and take the times of its period when that is moved; else PB012.';

CREATE FUNCTION billing.guard_hold() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_hold';
COMMENT ON FUNCTION billing.guard_hold() IS 'Trigger: of a hold only ended may change, once; else PB012.';

CREATE FUNCTION billing.guard_hold_end() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_hold_end';
COMMENT ON FUNCTION billing.guard_hold_end() IS 'Trigger, at commit: a hold has ended exactly if it has a row in hold_end, and the ledger keeps the tokens that these say; else 23514.';

CREATE FUNCTION billing.guard_event() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_event';
COMMENT ON FUNCTION billing.guard_event() IS 'Trigger: stamps an event with the transaction that writes it, unless it is restored.';

CREATE FUNCTION billing.guard_order() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_order';
COMMENT ON FUNCTION billing.guard_order() IS 'Trigger: of an order only status, closed_at and subscription_id may change, once, from open; else PB012.';

CREATE FUNCTION billing.guard_period() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_period';
COMMENT ON FUNCTION billing.guard_period() IS 'Trigger: a period may be moved, cut, dropped, credited once, and more and more of it paid back; else PB012.';

CREATE FUNCTION billing.guard_balance() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_balance';
COMMENT ON FUNCTION billing.guard_balance() IS 'Trigger, at commit: no grant may be overdrawn nor get back more than was taken; else PB004. The entry''s hold, if it has one, must agree; else 23514.';

CREATE FUNCTION billing.guard_engine() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_engine';
COMMENT ON FUNCTION billing.guard_engine() IS 'Trigger: plain DML on what balances are derived from locks the account and retires its entry in shared memory. A ledger row''s number must be above the newest checkpoint (PB012) and at most 2^62 (22003).';

CREATE FUNCTION billing.guard_checkpoint() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_checkpoint';
COMMENT ON FUNCTION billing.guard_checkpoint() IS 'Trigger: a checkpoint by plain INSERT must say what the ledger adds up to, and go past no entry of another grant that is in none; else 23514.';

CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.plan_version
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.plan_version
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.ledger
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE CONSTRAINT TRIGGER balance AFTER INSERT ON billing.ledger DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION billing.guard_balance();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.checkpoint
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER changes BEFORE UPDATE ON billing.token_grant
    FOR EACH ROW EXECUTE FUNCTION billing.guard_grant();
CREATE TRIGGER immutable BEFORE DELETE ON billing.token_grant
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.token_grant
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER changes BEFORE UPDATE ON billing.hold
    FOR EACH ROW EXECUTE FUNCTION billing.guard_hold();
CREATE TRIGGER immutable BEFORE DELETE ON billing.hold
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.hold
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
-- not ENABLE ALWAYS: rows of a restore or a replica come in any order
CREATE CONSTRAINT TRIGGER agrees AFTER INSERT OR UPDATE ON billing.hold DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION billing.guard_hold_end();
CREATE CONSTRAINT TRIGGER agrees AFTER INSERT ON billing.hold_end DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION billing.guard_hold_end();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.hold_end
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.hold_end
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER changes BEFORE UPDATE ON billing.subscription_period
    FOR EACH ROW EXECUTE FUNCTION billing.guard_period();
CREATE TRIGGER immutable BEFORE DELETE ON billing.subscription_period
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.subscription_period
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
-- Row by row they may go, by the rules of users.
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.account_user
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER stamp BEFORE INSERT ON billing.event
    FOR EACH ROW EXECUTE FUNCTION billing.guard_event();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing.event
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.event
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();

ALTER TABLE billing.plan_version ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.plan_version ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER balance;
ALTER TABLE billing.checkpoint ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.checkpoint ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.token_grant ENABLE ALWAYS TRIGGER changes;
ALTER TABLE billing.token_grant ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.token_grant ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.hold ENABLE ALWAYS TRIGGER changes;
ALTER TABLE billing.hold ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.hold ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.hold_end ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.hold_end ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.subscription_period ENABLE ALWAYS TRIGGER changes;
ALTER TABLE billing.subscription_period ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.subscription_period ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.account_user ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE billing.event ENABLE ALWAYS TRIGGER stamp;
ALTER TABLE billing.event ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.event ENABLE ALWAYS TRIGGER no_truncate;

CREATE TRIGGER engine BEFORE INSERT OR UPDATE OR DELETE ON billing.account
    FOR EACH ROW EXECUTE FUNCTION billing.guard_engine();
ALTER TABLE billing.account ENABLE ALWAYS TRIGGER engine;
CREATE TRIGGER engine BEFORE INSERT OR UPDATE OR DELETE ON billing.token_grant
    FOR EACH ROW EXECUTE FUNCTION billing.guard_engine();
ALTER TABLE billing.token_grant ENABLE ALWAYS TRIGGER engine;
CREATE TRIGGER engine BEFORE INSERT OR UPDATE OR DELETE ON billing.ledger
    FOR EACH ROW EXECUTE FUNCTION billing.guard_engine();
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER engine;
-- by name after "engine", which locks the account
CREATE TRIGGER sum BEFORE INSERT ON billing.checkpoint
    FOR EACH ROW EXECUTE FUNCTION billing.guard_checkpoint();
ALTER TABLE billing.checkpoint ENABLE ALWAYS TRIGGER sum;
-- at the end of the statement, which may have those of several grants
CREATE TRIGGER others AFTER INSERT ON billing.checkpoint
    FOR EACH ROW EXECUTE FUNCTION billing.guard_checkpoint();
ALTER TABLE billing.checkpoint ENABLE ALWAYS TRIGGER others;
CREATE TRIGGER engine BEFORE INSERT OR UPDATE OR DELETE ON billing.checkpoint
    FOR EACH ROW EXECUTE FUNCTION billing.guard_engine();
ALTER TABLE billing.checkpoint ENABLE ALWAYS TRIGGER engine;
CREATE TRIGGER engine BEFORE INSERT OR UPDATE OR DELETE ON billing.hold
    FOR EACH ROW EXECUTE FUNCTION billing.guard_engine();
ALTER TABLE billing.hold ENABLE ALWAYS TRIGGER engine;

CREATE TRIGGER immutable BEFORE DELETE ON billing.app
    FOR EACH ROW EXECUTE FUNCTION billing.guard_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing.app
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_immutable();
ALTER TABLE billing.app ENABLE ALWAYS TRIGGER immutable;
ALTER TABLE billing.app ENABLE ALWAYS TRIGGER no_truncate;
