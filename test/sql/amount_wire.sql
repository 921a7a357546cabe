-- billing.amount: COPY as text and binary, hostile binary input
SET search_path = billing, public;

CREATE TABLE wire (id bigint, price amount);
INSERT INTO wire
SELECT row_number() OVER (), amount(minor * ('1e-' || currency_decimals(code))::numeric, code)
FROM (VALUES ('USD'), ('JPY'), ('KWD'), ('CLF'), ('XAF'), ('ZWG'), ('AED')) AS c(code), (
    SELECT unnest(ARRAY['-9223372036854775808', '9223372036854775807', '0', '1', '-1']::bigint[])
    UNION SELECT hashint8extended(n, 1) >> (n % 63)::int FROM generate_series(1, 500) AS n) AS v(minor);
INSERT INTO wire VALUES (0, NULL);
CREATE TABLE copy_text (LIKE wire);
CREATE TABLE copy_binary (LIKE wire);

\copy wire TO PROGRAM 'cat >"$PG_ABS_BUILDDIR/results/amount_wire.text"'
\copy copy_text FROM PROGRAM 'cat "$PG_ABS_BUILDDIR/results/amount_wire.text"'
\copy wire TO PROGRAM 'cat >"$PG_ABS_BUILDDIR/results/amount_wire.binary"' (FORMAT binary)
\copy copy_binary FROM PROGRAM 'cat "$PG_ABS_BUILDDIR/results/amount_wire.binary"' (FORMAT binary)
\! rm -f "$PG_ABS_BUILDDIR/results/amount_wire.text" "$PG_ABS_BUILDDIR/results/amount_wire.binary"

SELECT count(*) AS rows,
    count(*) FILTER (WHERE t.price IS NOT DISTINCT FROM w.price) AS same_by_text,
    count(*) FILTER (WHERE b.price IS NOT DISTINCT FROM w.price) AS same_by_binary
FROM wire AS w JOIN copy_text AS t USING (id) JOIN copy_binary AS b USING (id);

-- What is sent: eight bytes, most significant first, and the three letters.
SELECT amount_send('12.50 USD'), amount_send('-1 JPY'), amount_send('92233720368547758.07 USD');
SELECT count(*) FILTER (WHERE amount_send(price) <> int8send(minor_units(price)) || convert_to(currency(price), 'UTF8')) AS wrong FROM wire;

-- A COPY with one amount of these bytes.
CREATE TABLE received (price amount);
\set VERBOSITY sqlstate
\copy received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\013\\0\\0\\0\\0\\0\\0\\4\\342USD\\377\\377"' (FORMAT binary)
-- lower case, unknown, zero bytes, no letters at all
\copy received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\013\\0\\0\\0\\0\\0\\0\\4\\342usd\\377\\377"' (FORMAT binary)
\copy received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\013\\0\\0\\0\\0\\0\\0\\4\\342XXX\\377\\377"' (FORMAT binary)
\copy received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\013\\0\\0\\0\\0\\0\\0\\4\\342\\0\\0\\0\\377\\377"' (FORMAT binary)
\copy received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\013\\0\\0\\0\\0\\0\\0\\4\\342\\377\\376\\375\\377\\377"' (FORMAT binary)
-- empty, short, long
\copy received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\0\\377\\377"' (FORMAT binary)
\copy received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\012\\0\\0\\0\\0\\0\\0\\4\\342US\\377\\377"' (FORMAT binary)
\copy received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\014\\0\\0\\0\\0\\0\\0\\4\\342USDX\\377\\377"' (FORMAT binary)
\set VERBOSITY default
\copy received FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\013\\0\\0\\0\\0\\0\\0\\4\\342usd\\377\\377"' (FORMAT binary)
SELECT price FROM received;

-- The bytes in a table are defined, unused ones too: equal rows are equal records.
SELECT count(*) AS equal_records FROM wire AS w JOIN copy_text AS t USING (id) WHERE w *= t;

DROP TABLE wire, copy_text, copy_binary, received;
