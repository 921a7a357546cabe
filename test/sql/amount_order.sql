-- billing.amount: comparison, indexes, hashing
SET search_path = billing, public;

SELECT a, b, a = b AS eq, a <> b AS ne, a < b AS lt, a <= b AS le, a > b AS gt, a >= b AS ge
FROM (VALUES ('1.00 USD', '2.00 USD'), ('2.00 USD', '1.00 USD'), ('1.00 USD', '1.00 USD'), ('-1.00 USD', '1.00 USD'),
    ('-92233720368547758.08 USD', '92233720368547758.07 USD')) AS t(x, y), CAST(x AS amount) AS a, CAST(y AS amount) AS b;

-- Different currencies: unequal, and neither less nor greater.
SELECT '1.00 USD'::amount = '1.00 EUR' AS eq, '1.00 USD'::amount <> '1.00 EUR' AS ne, '0 JPY'::amount = '0.00 EUR' AS zeros;
SELECT '1.00 USD'::amount < '1.00 EUR';
\set VERBOSITY sqlstate
SELECT '1.00 USD'::amount <= '1.00 EUR';
SELECT '1.00 USD'::amount > '1.00 EUR';
SELECT '1.00 USD'::amount >= '1.00 EUR';
SELECT '0.00 USD'::amount < '0 JPY';
SELECT '1.00 USD'::amount BETWEEN '0.00 EUR' AND '2.00 EUR';
\set VERBOSITY default
SELECT '1.00 USD'::amount *< '1.00 EUR' AS lt, '1.00 USD'::amount *<= '1.00 EUR' AS le,
    '1.00 USD'::amount *> '1.00 EUR' AS gt, '1.00 USD'::amount *>= '1.00 EUR' AS ge;

-- A column with several currencies sorts, groups, joins and is indexed.
CREATE TABLE mixed (id bigint, price amount);
INSERT INTO mixed
SELECT n, amount((hashint8extended(n, 1) % 1000)::numeric, (ARRAY['USD', 'EUR', 'JPY', 'KWD'])[1 + n % 4])
FROM generate_series(1, 8000) AS n;
INSERT INTO mixed VALUES (0, NULL);

CREATE FUNCTION is_sorted(prices amount[]) RETURNS boolean LANGUAGE sql SET search_path = billing AS $$
    SELECT bool_and(previous IS NULL OR (currency(previous) COLLATE "C", minor_units(previous)) <= (currency(p) COLLATE "C", minor_units(p)))
    FROM (SELECT p, lag(p) OVER (ORDER BY i) AS previous FROM unnest(prices) WITH ORDINALITY AS u(p, i)) AS s
$$;
SELECT is_sorted(array_agg(price ORDER BY price)) AS sorted, array_length(array_agg(price ORDER BY price), 1) FROM mixed WHERE id > 0;

CREATE INDEX mixed_btree ON mixed (price);
CREATE INDEX mixed_hash ON mixed USING hash (price);
ANALYZE mixed;

SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT price FROM mixed WHERE price *> '5 USD' ORDER BY price;
SELECT is_sorted(array_agg(price)) AS sorted, count(*) FROM (SELECT price FROM mixed WHERE price IS NOT NULL ORDER BY price) AS s;
SELECT is_sorted(array_agg(price)) AS sorted, count(*) FROM (SELECT price FROM mixed WHERE price *> '5 EUR' AND price *<= '100 USD' ORDER BY price) AS s;
-- A range with both ends in one currency holds that currency only: how to use the index for "less than".
EXPLAIN (COSTS OFF) SELECT price FROM mixed WHERE price *>= '0 USD' AND price *< '5.00 USD';
SELECT count(*) = (SELECT count(*) FROM mixed WHERE currency(price) = 'USD' AND minor_units(price) BETWEEN 0 AND 499) AS same,
    bool_and(price < '5.00 USD' AND price >= '0 USD') AS agreed
FROM mixed WHERE price *>= '0 USD' AND price *< '5.00 USD';
RESET enable_sort;
SELECT count(*) AS wrong FROM mixed AS m
WHERE m.id % 100 = 0 AND (SELECT count(*) FROM mixed AS i WHERE i.price = m.price)
    <> (SELECT count(*) FROM mixed AS i WHERE currency(i.price) = currency(m.price) AND minor_units(i.price) = minor_units(m.price));
RESET enable_seqscan;

-- Planning never raises, and the raising operators never use the index.
EXPLAIN (COSTS OFF) SELECT FROM mixed WHERE price < '5.00 USD';
SELECT count(*) FROM mixed WHERE price < '5.00 USD';
SELECT count(*) > 0 AS some FROM mixed WHERE CASE WHEN currency(price) = 'USD' THEN price < '5.00 USD' END;

SELECT price FROM mixed WHERE id > 0 ORDER BY price USING *> LIMIT 1;
SELECT greatest('1 USD'::amount, '2 EUR') AS greatest, least('1 USD'::amount, '2 EUR') AS least;

-- The same answer by every way to join and to group.
CREATE TEMPORARY TABLE answer AS
SELECT count(*) AS pairs FROM mixed AS a JOIN mixed AS b
    ON currency(a.price) = currency(b.price) AND minor_units(a.price) = minor_units(b.price);
SET enable_nestloop = off;
SET enable_mergejoin = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM mixed AS a JOIN mixed AS b USING (price);
SELECT count(*) = pairs AS hash_join FROM mixed AS a JOIN mixed AS b USING (price), answer GROUP BY pairs;
RESET enable_mergejoin;
SET enable_hashjoin = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM mixed AS a JOIN mixed AS b USING (price);
SELECT count(*) = pairs AS merge_join FROM mixed AS a JOIN mixed AS b USING (price), answer GROUP BY pairs;
RESET enable_hashjoin;
RESET enable_nestloop;

SET enable_sort = off;
SELECT count(*) AS hash_groups FROM (SELECT price FROM mixed GROUP BY price) AS s;
RESET enable_sort;
SET enable_hashagg = off;
SELECT count(*) AS sort_groups FROM (SELECT price FROM mixed GROUP BY price) AS s;
RESET enable_hashagg;
SELECT count(*) AS groups FROM (SELECT DISTINCT currency(price), minor_units(price) FROM mixed) AS s;

-- Equal values hash equally however they came about; unequal ones rarely.
SELECT bool_and(amount_hash(price) = amount_hash(price + '1 USD' - '1 USD')) AS by_sum,
    bool_and(amount_hash(price) = amount_hash(price::text::amount)) AS by_text,
    bool_and(amount_hash(price) = amount_hash_extended(price, 0)::bit(32)::int) AS extended_without_seed,
    count(DISTINCT amount_hash(price)) > 0.99 * count(DISTINCT price) AS spread,
    bool_or(amount_hash_extended(price, 1) <> amount_hash_extended(price, 2)) AS seeded
FROM mixed WHERE currency(price) = 'USD';

CREATE TEMPORARY TABLE part (price amount NOT NULL) PARTITION BY HASH (price);
CREATE TEMPORARY TABLE part0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TEMPORARY TABLE part1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO part SELECT price FROM mixed WHERE price IS NOT NULL;
SELECT count(*), count(DISTINCT tableoid) FROM part;

-- A unique index and its arbiter.
CREATE TEMPORARY TABLE single (price amount UNIQUE);
INSERT INTO single VALUES ('1.00 USD'), ('1 JPY'), ('1.00 EUR');
INSERT INTO single VALUES ('1 USD') ON CONFLICT DO NOTHING;
INSERT INTO single VALUES ('1.0 EUR');
SELECT price FROM single ORDER BY price DESC;

-- The catalogue agrees that both classes are complete.
SELECT amname, opcname, opcdefault, amvalidate(c.oid) FROM pg_opclass AS c JOIN pg_am AS a ON a.oid = opcmethod
WHERE opcintype = 'amount'::regtype ORDER BY 1;

DROP FUNCTION is_sorted(amount[]);
DROP TABLE mixed;
