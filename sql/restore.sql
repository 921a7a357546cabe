-- A restore's rows come in any order: each table that has a foreign key has these two.

CREATE FUNCTION billing.guard_restore() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'billing_guard_restore';
COMMENT ON FUNCTION billing.guard_restore() IS 'Trigger around each INSERT and COPY: in a restore the foreign keys are not looked at, as its rows come in any order.';

CREATE TRIGGER restore_begin BEFORE INSERT ON billing.plan_version
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.plan_version
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.plan_version ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.plan_version ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.account_user
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.account_user
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.account_user ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.account_user ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.login_client
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.login_client
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.login_client ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.login_client ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.subscription
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.subscription
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.subscription ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.subscription ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.subscription_period
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.subscription_period
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.subscription_period ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.subscription_period ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.token_grant
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.token_grant
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.token_grant ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.token_grant ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.checkpoint ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.checkpoint ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.hold
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.hold
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.hold ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.hold ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.hold_end
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.hold_end
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.hold_end ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.hold_end ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.plan_order
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.plan_order
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.plan_order ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.plan_order ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.order_credit
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.order_credit
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.order_credit ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.order_credit ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.payment
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.payment
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.payment ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.payment ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.payment_refund
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.payment_refund
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.payment_refund ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.payment_refund ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.account_credit
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.account_credit
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.account_credit ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.account_credit ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.event
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.event
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.event ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.event ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.worker_failure
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.worker_failure
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.worker_failure ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.worker_failure ENABLE ALWAYS TRIGGER restore_end;
CREATE TRIGGER restore_begin BEFORE INSERT ON billing.low_balance
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
CREATE TRIGGER restore_end AFTER INSERT ON billing.low_balance
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_restore();
ALTER TABLE billing.low_balance ENABLE ALWAYS TRIGGER restore_begin;
ALTER TABLE billing.low_balance ENABLE ALWAYS TRIGGER restore_end;
