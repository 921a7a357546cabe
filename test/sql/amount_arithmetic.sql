-- billing.amount: arithmetic, against numeric
SET search_path = billing, public;

SELECT '12.50 USD'::amount + '0.75 USD' AS plus, '12.50 USD'::amount - '13.00 USD' AS minus,
    - '12.50 USD'::amount AS negated, + '-12.50 USD'::amount AS same, abs('-12.50 USD'::amount);
SELECT '12.50 USD'::amount * 3 AS int4, '12.50 USD'::amount * 3::smallint AS int2, '12.50 USD'::amount * 3::bigint AS int8,
    '12.50 USD'::amount * 1.19 AS "numeric", 3 * '12.50 USD'::amount AS int4_left, 1.19 * '12.50 USD'::amount AS numeric_left;
SELECT '12.50 USD'::amount / 4 AS int4, '12.50 USD'::amount / 0.3 AS "numeric", '12.50 USD'::amount / '5.00 USD'::amount AS ratio,
    '1500 JPY'::amount / '7 JPY'::amount AS ratio_jpy;

-- Half away from zero, once: 0.49999999999999999999999 is not rounded to 0.5 on its way.
SELECT m, m * 0.5 AS half, m * -0.5 AS minus_half, m / 2 AS divided, m / -2 AS divided_minus
FROM unnest('{0 JPY,1 JPY,-1 JPY,2 JPY,3 JPY,-3 JPY,5 JPY}'::amount[]) AS m;
SELECT '1 JPY'::amount * 0.49999999999999999999999 AS times,
    '9223372036854775807 JPY'::amount / 18446744073709551614.0000000001 AS below_half,
    '9223372036854775807 JPY'::amount / 18446744073709551614 AS half,
    '-9223372036854775807 JPY'::amount / 18446744073709551614 AS minus_half;

-- Values of all sizes, by a generator that has nothing to do with money.
CREATE TEMPORARY TABLE pair AS
SELECT n, hashint8extended(n, 1) >> (n % 63)::int AS a, hashint8extended(n, 2) >> (n / 63 % 63)::int AS b,
    (hashint8extended(n, 3) >> (n % 61)::int) * ('1e-' || n % 19)::numeric AS f
FROM generate_series(1, 8000) AS n;
CREATE TEMPORARY TABLE checked AS
SELECT pair.*, c.code, amount(a * c.unit, c.code) AS x, amount(b * c.unit, c.code) AS y, c.unit,
    -9223372036854775808 AS low, 9223372036854775807 AS high
FROM pair, (VALUES ('JPY', 1), ('USD', 0.01), ('KWD', 0.001), ('CLF', 0.0001)) AS c(code, unit);

SELECT count(*) AS sums,
    count(*) FILTER (WHERE minor_units(x + y) <> a::numeric + b) AS wrong
FROM checked WHERE a::numeric + b BETWEEN low AND high;
SELECT count(*) AS differences,
    count(*) FILTER (WHERE minor_units(x - y) <> a::numeric - b) AS wrong
FROM checked WHERE a::numeric - b BETWEEN low AND high;
SELECT count(*) > 10000 AS products,
    count(*) FILTER (WHERE minor_units(x * f) <> round(a * f)) AS wrong,
    count(*) FILTER (WHERE f * x <> x * f) AS not_commutative
FROM checked WHERE round(a * f) BETWEEN low AND high;
-- The nearest whole number q: 2 |a - q f| <= |f|, and in a tie the one further from zero.
SELECT count(*) > 10000 AS quotients,
    count(*) FILTER (WHERE 2 * abs(a - q * f) > abs(f)) AS not_nearest,
    count(*) FILTER (WHERE 2 * abs(a - q * f) = abs(f)) > 0 AS some_ties,
    count(*) FILTER (WHERE 2 * abs(a - q * f) = abs(f) AND abs(q * f) < abs(a)) AS tie_towards_zero
FROM (SELECT a, f, minor_units(x / f)::numeric AS q FROM checked
    WHERE f <> 0 AND abs(a) < 9223372036854775806 * abs(f)) AS s;
SELECT count(*) > 10000 AS ratios,
    count(*) FILTER (WHERE (x / y)::text <> (x::numeric / y::numeric)::text) AS wrong
FROM checked WHERE b <> 0;
SELECT count(*) FILTER (WHERE x * b <> amount(a::numeric * b * unit, code)) AS integer_products_wrong
FROM checked WHERE a::numeric * b BETWEEN low AND high;

-- Ends of the range.
SELECT '9223372036854775806 JPY'::amount + '1 JPY' AS top, '-9223372036854775807 JPY'::amount - '1 JPY' AS bottom,
    '4611686018427387904 JPY'::amount * -2 AS bottom_by_product, '-9223372036854775808 JPY'::amount / 1 AS bottom_by_quotient,
    '9223372036854775807 JPY'::amount * 1.00000000000000000005 AS rounded_into;

\set VERBOSITY sqlstate
SELECT '9223372036854775807 JPY'::amount + '1 JPY';
SELECT '-9223372036854775808 JPY'::amount + '-1 JPY';
SELECT '-9223372036854775808 JPY'::amount - '1 JPY';
SELECT '0 JPY'::amount - '-9223372036854775808 JPY'::amount;
SELECT - '-9223372036854775808 JPY'::amount;
SELECT abs('-9223372036854775808 JPY'::amount);
SELECT '-9223372036854775808 JPY'::amount * -1;
SELECT '-9223372036854775808 JPY'::amount / -1;
SELECT '4611686018427387904 JPY'::amount * 2;
SELECT '9223372036854775807 JPY'::amount * 1.0000000000000000001;
SELECT '9223372036854775807 JPY'::amount / 0.5;
SELECT '1 JPY'::amount * 1e19;
SELECT '1 JPY'::amount / 1e-19;
SELECT '1 JPY'::amount * 1e100000;
SELECT '1 JPY'::amount / ('1e-16000')::numeric;
SELECT 'NaN'::numeric * '1 JPY'::amount;
SELECT '1 JPY'::amount * 'NaN'::numeric;
SELECT '0 JPY'::amount * 'Infinity'::numeric;
SELECT '1 JPY'::amount / '-Infinity'::numeric;
SELECT '1 JPY'::amount / 'NaN'::numeric;
SELECT '1 JPY'::amount / 0;
SELECT '1 JPY'::amount / 0.000;
SELECT '1 JPY'::amount / '0 JPY'::amount;
SELECT '1 JPY'::amount + '1.00 USD'::amount;
SELECT '1 JPY'::amount - '1.00 USD'::amount;
SELECT '0 JPY'::amount + '0.00 USD'::amount;
SELECT '1 JPY'::amount / '1.00 USD'::amount;
SELECT '1 JPY'::amount / '0.00 USD'::amount;
-- No such operators.
SELECT '1 JPY'::amount * '1 JPY'::amount;
SELECT '1 JPY'::amount * 1.5::float8;
SELECT '1 JPY'::amount + 1;
SELECT 1 / '1 JPY'::amount;

\set VERBOSITY default
SELECT '90000000000000000.00 USD'::amount + '90000000000000000.00 USD';
SELECT '1 JPY'::amount + '1.00 USD';
SELECT '1 JPY'::amount / 0;
SELECT '1 JPY'::amount * 'NaN'::numeric;

-- Tiny factors and huge divisors give zero.
SELECT '9223372036854775807 JPY'::amount * ('1e-16000')::numeric AS tiny, '9223372036854775807 JPY'::amount / 1e100000 AS huge;
