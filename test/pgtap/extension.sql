BEGIN;

SELECT plan(3);

SELECT has_extension('billing');
SELECT schema_owner_is('billing', current_user);
SELECT isnt(obj_description('billing'::regnamespace, 'pg_namespace'), NULL, 'the schema has a comment');

SELECT finish();

ROLLBACK;
