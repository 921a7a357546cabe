-- Which addresses are accepted and which two are the same; which passwords are accepted. Characters
-- outside ASCII are written as escapes, so that what is meant can be read.
BEGIN;

SELECT plan(74);

SELECT billing.create_plan('free', 'free');
SELECT billing.create_account('A', '11111111-1111-4111-8111-1111111111aa');

CREATE FUNCTION pg_temp.key(address text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    made text;
BEGIN
    INSERT INTO billing.account_user (account_id, email, role) VALUES ('11111111-1111-4111-8111-1111111111aa', address, 'member')
        RETURNING email_key INTO made;
    DELETE FROM billing.account_user WHERE email_key = made;
    RETURN made;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN NULL;
END $$;

SELECT is(pg_temp.key(address), key, coalesce(note, address)) FROM (VALUES
    ('Ada@Example.COM', 'ada@example.com', NULL),
    ('first.last+tag@sub.example.org', 'first.last+tag@sub.example.org', NULL),
    ('!#$%&''*+-/=?^_`{|}~@example.com', '!#$%&''*+-/=?^_`{|}~@example.com', NULL),
    ('root@localhost', 'root@localhost', NULL),
    (E'J\u00D6RG@B\u00DCCHER.de', E'j\u00F6rg@b\u00FCcher.de', 'composed capitals'),
    (E'JO\u0308RG@BU\u0308CHER.de', E'j\u00F6rg@b\u00FCcher.de', 'decomposed capitals'),
    (E'stra\u00DFe@example.com', 'strasse@example.com', 'sharp s'),
    (E'STRA\u1E9EE@example.com', 'strasse@example.com', 'capital sharp s'),
    (E'\uFF41\uFF44\uFF41@example.com', 'ada@example.com', 'full-width letters'),
    (E'\u03A3\u03AF\u03C3\u03C5\u03C6\u03BF\u03C2@example.com', E'\u03C3\u03AF\u03C3\u03C5\u03C6\u03BF\u03C3@example.com', 'final sigma'),
    (E'I@example.com', 'i@example.com', 'no Turkic i'),
    (E'\u0130@example.com', E'i\u0307@example.com', 'a Turkic capital is another letter'),
    (E'\uFB01n@example.com', 'fin@example.com', 'a ligature'),
    (E'\u4F8B@\u4F8B\u5B50.\u6D4B\u8BD5', E'\u4F8B@\u4F8B\u5B50.\u6D4B\u8BD5', 'Chinese'),
    (repeat('a', 64) || '@example.com', repeat('a', 64) || '@example.com', '64 bytes before the @'),
    ('a@' || repeat(repeat('b', 62) || '.', 3) || repeat('c', 63), 'a@' || repeat(repeat('b', 62) || '.', 3) || repeat('c', 63), '254 bytes'),
    ('', NULL, 'empty'),
    ('ada', NULL, NULL),
    ('@example.com', NULL, NULL),
    ('ada@', NULL, NULL),
    ('ada@@example.com', NULL, NULL),
    ('ada@bob@example.com', NULL, NULL),
    ('.ada@example.com', NULL, NULL),
    ('ada.@example.com', NULL, NULL),
    ('a..da@example.com', NULL, NULL),
    ('"ada"@example.com', NULL, NULL),
    ('Ada <ada@example.com>', NULL, NULL),
    (' ada@example.com', NULL, 'a space in front'),
    ('ada@example.com ', NULL, 'a space behind'),
    ('a da@example.com', NULL, 'a space within'),
    (E'ada@example.com\n', NULL, 'a line''s end'),
    (E'ada\t@example.com', NULL, 'a tab'),
    (E'ada\u00A0@example.com', NULL, 'a no-break space'),
    (E'ada\u200B@example.com', NULL, 'a zero-width space'),
    (E'ada\u00AD@example.com', NULL, 'a soft hyphen'),
    (E'ada\u202E@example.com', NULL, 'a directional override'),
    (E'ada\uFEFF@example.com', NULL, 'a byte order mark'),
    (E'ada\uE000@example.com', NULL, 'private use'),
    (E'ada\u0378@example.com', NULL, 'unassigned'),
    (E'ada\uFF20example.com', NULL, 'a full-width @'),
    (E'ada@example\uFF0Ecom', NULL, 'a full-width dot'),
    (E'ada@example\u3002com', NULL, 'an ideographic full stop'),
    (E'a\u2100da@example.com', NULL, 'a sign of several characters'),
    (E'a\u2026@example.com', NULL, 'an ellipsis'),
    ('ada@-example.com', NULL, NULL),
    ('ada@example-.com', NULL, NULL),
    ('ada@example..com', NULL, NULL),
    ('ada@.example.com', NULL, NULL),
    ('ada@example.com.', NULL, NULL),
    ('ada@exam_ple.com', NULL, NULL),
    ('ada@[192.0.2.1]', NULL, NULL),
    (repeat('a', 65) || '@example.com', NULL, '65 bytes before the @'),
    ('a@' || repeat('b', 64) || '.com', NULL, 'a label of 64 bytes'),
    ('a@' || repeat(repeat('b', 62) || '.', 4) || 'com', NULL, 'more than 254 bytes')
) v(address, key, note);

-- Passwords, by what is said of them
SELECT billing.add_user_within_limit('11111111-1111-4111-8111-1111111111aa', 'ada.lovelace@example.com', NULL, 'admin') AS ada \gset
SET billing.password_memory = '19MB';
CREATE FUNCTION pg_temp.refusal(id uuid, password text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text;
BEGIN
    PERFORM billing.set_user_password(id, password);
    RETURN NULL;
EXCEPTION WHEN invalid_parameter_value THEN
    GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
    RETURN said;
END $$;
SELECT CASE WHEN said IS NULL THEN is(pg_temp.refusal(:'ada', password), NULL, 'accepted: ' || left(password, 20))
            ELSE matches(pg_temp.refusal(:'ada', password), said, 'refused: ' || left(password, 20)) END FROM (VALUES
    ('', 'characters'),
    ('7 chars', 'characters'),
    (E'\u00E4\u00F6\u00FC\u00DF\u00E4\u00F6\u00FC', 'characters'),
    ('password', 'most common'),
    ('PassWord1', 'most common'),
    ('iloveyou', 'most common'),
    ('aaaaaaaaaaaa', 'repeated|run|sequence'),
    ('23456789', 'repeated|run|sequence|most common'),
    ('hgfedcba', 'repeated|run|sequence'),
    ('ADA.LOVELACE@example.com', 'email address'),
    ('Ada.Lovelace', 'email address'),
    (repeat('long ', 205), 'bytes'),
    (repeat(E'\u00E4x', 342), 'bytes'),
    ('8 chars.', NULL),
    ('correct horse battery', NULL),
    (E'\u00E4\u00F6\u00FC\u00DF \u4F8B\u5B50 x', NULL),
    ('        x       ', NULL),
    (repeat('long ', 200), NULL)
) v(password, said);
SELECT is((SELECT reason FROM billing.authenticate_user('ada.lovelace@example.com', repeat('long ', 200))), 'no_active_plan', 'the last one is the password');
SELECT is((SELECT reason FROM billing.authenticate_user('ada.lovelace@example.com', repeat('long ', 199) || 'lonG ')), 'invalid_credentials', 'to its end');

SELECT finish();
ROLLBACK;
