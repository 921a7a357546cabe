-- Somebody's own trigger on one of our tables catches an error: the call that fired it goes on.
BEGIN;

SELECT plan(6);

SELECT billing.create_plan('one', 'subscription', duration => '30 days');
SELECT billing.create_plan('two', 'subscription', duration => '30 days');
SELECT billing.create_plan('three', 'token', tokens => 10);

CREATE FUNCTION public.catches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    -- one of ours that fails, and one that does not
    BEGIN
        PERFORM billing.subscribe(NEW.account_id, 'no-such-plan');
    EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE <> 'PB011' THEN RAISE; END IF;
    END;
    IF NEW.kind = 'subscription_expired' THEN
        PERFORM billing.update_account(NEW.account_id, reference => NEW.detail ->> 'plan');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER catches AFTER INSERT ON billing.event FOR EACH ROW EXECUTE FUNCTION public.catches();

\set a '''9a000002-0000-4000-8000-0000000000a1'''
SELECT lives_ok($$SELECT billing.create_account('A', '9a000002-0000-4000-8000-0000000000a1')$$, 'a call with one event');
SELECT billing.set_test_clock(:a, '2040-01-01');
SELECT lives_ok($$SELECT billing.subscribe('9a000002-0000-4000-8000-0000000000a1', code) FROM unnest('{one,two,three}'::text[]) AS code$$,
    'calls with several events each');
SELECT is(billing.advance_test_clock(:a, '60 days'), '2040-03-01', 'a call that reads between its events');
SELECT results_eq($$SELECT detail ->> 'plan' FROM billing.event WHERE kind = 'subscription_expired' ORDER BY detail ->> 'plan'$$,
    $$VALUES ('one'), ('two')$$, 'everything due was done');
SELECT is(reference, 'two', 'the calls within the call worked') FROM billing.account WHERE account_id = :a;
SELECT is(billing.tokens_remaining(:a), 10::bigint, 'and the session goes on');

SELECT finish();

ROLLBACK;
