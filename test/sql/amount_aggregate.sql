-- billing.amount: sum, min, max
SET search_path = billing, public;

CREATE TABLE booking (id bigint, price amount);
SELECT sum(price), min(price), max(price) FROM booking;
INSERT INTO booking VALUES (-1, NULL), (-2, NULL);
SELECT sum(price), min(price), max(price) FROM booking;
INSERT INTO booking
SELECT n, amount(((hashint8extended(n, 1) >> 16) * 0.0001)::numeric, 'CLF') FROM generate_series(1, 20000) AS n;

SELECT minor_units(sum(price)) = sum(minor_units(price)) AS sum, minor_units(min(price)) = min(minor_units(price)) AS min,
    minor_units(max(price)) = max(minor_units(price)) AS max, currency(sum(price)) AS currency
FROM booking;
SELECT count(*) AS groups, count(*) FILTER (WHERE minor_units(s) IS DISTINCT FROM n) AS wrong
FROM (SELECT sum(price) AS s, sum(minor_units(price)) AS n FROM booking GROUP BY id % 1000) AS g;

-- In parallel, some workers without a row.
ALTER TABLE booking SET (parallel_workers = 2);
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT sum(price), min(price), max(price) FROM booking;
SELECT minor_units(sum(price)) = sum(minor_units(price)) AS sum, minor_units(min(price)) = min(minor_units(price)) AS min,
    minor_units(max(price)) = max(minor_units(price)) AS max FROM booking;
SELECT sum(price), min(price), max(price) FROM booking WHERE id < 0;
SELECT minor_units(sum(price)) = sum(minor_units(price)) AS sum FROM booking WHERE id <= 1;
SET parallel_leader_participation = off;
SELECT minor_units(sum(price)) = sum(minor_units(price)) AS sum FROM booking;
RESET parallel_leader_participation;

-- A range is passed by the sum, never by a part of it.
TRUNCATE booking;
INSERT INTO booking SELECT n, CASE WHEN n % 2 = 0 THEN '92233720368547758.07 USD' ELSE '-92233720368547758.08 USD' END::amount
FROM generate_series(1, 6000) AS n;
SELECT sum(price ORDER BY id) AS alternating, sum(price ORDER BY id % 2, id) AS lows_first, sum(price ORDER BY id % 2 DESC, id) AS highs_first FROM booking;
SELECT sum(price) FROM booking;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
ALTER TABLE booking RESET (parallel_workers);
SELECT sum(price) FROM unnest('{92233720368547758.07 USD,0.01 USD}'::amount[]) AS price;
SELECT sum(price) FROM unnest('{-92233720368547758.08 USD,-0.01 USD}'::amount[]) AS price;
SELECT sum(price) AS top FROM unnest('{92233720368547758.07 USD,0.01 USD,-0.01 USD}'::amount[]) AS price;
SELECT sum(price) AS bottom FROM unnest('{-92233720368547758.08 USD,-0.01 USD,0.01 USD}'::amount[]) AS price;

-- Mixed currencies.
SELECT sum(price) FROM unnest('{1 USD,1 EUR}'::amount[]) AS price;
\set VERBOSITY sqlstate
SELECT min(price) FROM unnest('{1 USD,1 EUR}'::amount[]) AS price;
SELECT max(price) FROM unnest('{1 USD,1 EUR}'::amount[]) AS price;
SELECT sum(price) FROM unnest('{0 USD,0 JPY}'::amount[]) AS price;
CREATE INDEX ON booking (price);
INSERT INTO booking VALUES (6001, '1 EUR');
SET enable_seqscan = off;
SELECT min(price) FROM booking;
SELECT max(price) FROM booking;
RESET enable_seqscan;
-- Two workers, each with a currency of its own.
CREATE TABLE other_booking (id bigint, price amount);
INSERT INTO other_booking SELECT n, '1 EUR' FROM generate_series(1, 6000) AS n;
DELETE FROM booking WHERE id = 6001;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT sum(price) FROM (SELECT price FROM booking UNION ALL SELECT price FROM other_booking) AS both_tables;
SELECT max(price) FROM (SELECT price FROM booking UNION ALL SELECT price FROM other_booking) AS both_tables;
\set VERBOSITY default
SELECT price_currency, sum FROM (SELECT currency(price) AS price_currency, sum(price) FROM (SELECT price FROM booking UNION ALL SELECT price FROM other_booking) AS both_tables
    GROUP BY currency(price)) AS s ORDER BY price_currency;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- Moving frames, against numeric; a frame may leave one currency and enter another.
TRUNCATE booking;
INSERT INTO booking
SELECT n, CASE WHEN n % 7 <> 0 THEN amount(((hashint8extended(n, 1) >> (n % 63)::int) / 100)::numeric * 0.01, 'USD') END FROM generate_series(1, 3000) AS n;
SELECT count(*) AS frames, count(*) FILTER (WHERE minor_units(s) IS DISTINCT FROM n) AS wrong FROM (
    SELECT sum(price) OVER w AS s, sum(minor_units(price)) OVER w AS n FROM booking
    WINDOW w AS (ORDER BY id ROWS BETWEEN 3 PRECEDING AND 5 FOLLOWING)) AS f;
SELECT id, sum(price) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND CURRENT ROW),
    sum(price) OVER (PARTITION BY currency(price) ORDER BY id) AS running
FROM (VALUES (1, '1 USD'), (2, '2 EUR'), (3, NULL), (4, '9 JPY'), (5, '5 USD')) AS v(id, t), CAST(t AS amount) AS price ORDER BY id;
SELECT id, sum(price) OVER (ORDER BY id ROWS 1 PRECEDING) FROM (VALUES (1, '1 USD'), (2, '2 EUR')) AS v(id, t), CAST(t AS amount) AS price;

DROP TABLE booking, other_booking;
