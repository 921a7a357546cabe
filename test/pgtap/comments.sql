-- Everything that can be seen from outside says what it is.

BEGIN;

SELECT plan(5);

SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND obj_description(c.oid, 'pg_class') IS NULL$$,
    'every table and view');
SELECT is_empty($$
    SELECT c.oid::regclass, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
       AND a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL$$,
    'every column');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace = 'billing'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL$$,
    'every function');
-- of the types not those that belong to a table, and no arrays
SELECT is_empty($$
    SELECT t.oid::regtype FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
     WHERE t.typnamespace = 'billing'::regnamespace AND t.typelem = 0 AND coalesce(c.relkind, 'c') = 'c'
       AND obj_description(t.oid, 'pg_type') IS NULL$$,
    'every type');
SELECT is_empty($$
    SELECT o.oid::regoperator FROM pg_operator o
     WHERE o.oprnamespace = 'billing'::regnamespace AND obj_description(o.oid, 'pg_operator') IS NULL$$,
    'every operator');

SELECT finish();

ROLLBACK;
