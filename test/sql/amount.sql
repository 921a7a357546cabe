-- billing.amount: text form, currencies, conversions
SET search_path = billing, public;

SELECT t, t::amount FROM (VALUES
    ('12.50 USD'), ('1500 JPY'), ('1.250 KWD'), ('-0.05 EUR'), ('0.0001 CLF'),
    ('12 USD'), ('12.5 USD'), ('+7.25 EUR'), ('-0.00 EUR'), ('000012.50 USD'), ('0 JPY'),
    (E' \t12.50 \n USD\r\n')) AS v(t);

-- A second list of the currencies, by decimals, so that a slip in the library's table shows.
CREATE TEMPORARY TABLE iso AS
SELECT code, decimals FROM (VALUES
    (0, 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'),
    (2, 'AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN'),
    (2, 'BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP'),
    (2, 'GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP'),
    (2, 'LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR'),
    (2, 'NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN'),
    (2, 'SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER'),
    (2, 'ZAR ZMW ZWG'),
    (3, 'BHD IQD JOD KWD LYD OMR TND'),
    (4, 'CLF UYW')) AS v(decimals, codes), string_to_table(codes, ' ') AS code;

SELECT count(*) AS currencies FROM iso;

-- Every combination of three capitals is looked up: an entry out of order would not be found.
WITH letter AS (SELECT chr(n) AS c FROM generate_series(65, 90) AS n),
    code AS (SELECT a.c || b.c || c.c AS code FROM letter a, letter b, letter c)
SELECT count(*) AS codes, count(*) FILTER (WHERE currency_decimals(code) IS DISTINCT FROM decimals) AS wrong
FROM code LEFT JOIN iso USING (code);

SELECT code, currency_decimals(code) FROM unnest(ARRAY['', 'U', 'US', 'usd', 'USDD', 'USD ', 'XAU', 'XTS', 'XXX', 'XDR', repeat('U', 100000)]) AS v(full_code), left(full_code, 5) AS code
ORDER BY full_code COLLATE "C";

-- Every currency at its extremes and at values of every length, against numeric and text.
CREATE TEMPORARY TABLE sample AS
SELECT code, decimals, minor,
    minor * ('1e-' || decimals)::numeric AS major,
    minor * ('1e-' || decimals)::numeric || ' ' || code AS form
FROM iso, (
    SELECT unnest(ARRAY['-9223372036854775808', '9223372036854775807', '-9223372036854775807', '9223372036854775806']::bigint[])
    UNION SELECT s * (10::numeric ^ e)::bigint + d FROM generate_series(0, 18) AS e, unnest(ARRAY[-1, 0, 1]) AS d, unnest(ARRAY[-1, 1]) AS s
    UNION SELECT hashint8extended(n, 1) >> (n % 60)::int FROM generate_series(1, 60) AS n) AS v(minor);

SELECT count(*) > 167 * 100 AS enough,
    count(*) FILTER (WHERE form::amount::text <> form) AS text_changed,
    count(*) FILTER (WHERE minor_units(form::amount) <> minor) AS minor_wrong,
    count(*) FILTER (WHERE currency(form::amount) <> code) AS currency_wrong,
    count(*) FILTER (WHERE form::amount::numeric::text <> major::text) AS numeric_wrong,
    count(*) FILTER (WHERE amount(major, code) <> form::amount) AS constructor_wrong
FROM sample;

-- One past each end.
\set VERBOSITY sqlstate
SELECT '9223372036854775808 JPY'::amount;
SELECT '-9223372036854775809 JPY'::amount;
SELECT '92233720368547758.08 USD'::amount;
SELECT '-92233720368547758.09 USD'::amount;
SELECT '9223372036854775.808 KWD'::amount;
SELECT '922337203685477.5808 CLF'::amount;
SELECT '92233720368547759 USD'::amount;
SELECT amount(9223372036854775808, 'JPY');
SELECT amount(-92233720368547758.09, 'USD');
SELECT amount(1e131000, 'USD');
SELECT (repeat('9', 100000) || ' USD')::amount;

-- Not an amount.
SELECT ''::amount;
SELECT '   '::amount;
SELECT 'USD'::amount;
SELECT '12.50'::amount;
SELECT '12.50USD'::amount;
SELECT 'USD 12.50'::amount;
SELECT '$12.50'::amount;
SELECT '12.50 usd'::amount;
SELECT '12.50 Usd'::amount;
SELECT '12.50 US'::amount;
SELECT '12.50 USDX'::amount;
SELECT '12.50 ZZZ'::amount;
SELECT '12.50 XXX'::amount;
SELECT '12.50 XAU'::amount;
SELECT '12.50 USD EUR'::amount;
SELECT '12.50 USD x'::amount;
SELECT '12,50 USD'::amount;
SELECT '1,000.00 USD'::amount;
SELECT '1 000 USD'::amount;
SELECT '.50 USD'::amount;
SELECT '12. USD'::amount;
SELECT '. USD'::amount;
SELECT '- USD'::amount;
SELECT '--1 USD'::amount;
SELECT '+-1 USD'::amount;
SELECT '- 1 USD'::amount;
SELECT '1e2 USD'::amount;
SELECT '0x10 USD'::amount;
SELECT '1.2.3 USD'::amount;
SELECT 'NaN USD'::amount;
SELECT 'Infinity USD'::amount;
SELECT '-inf USD'::amount;
SELECT '12.505 USD'::amount;
SELECT '12.500 USD'::amount;
SELECT '1500.0 JPY'::amount;
SELECT '1.2500 KWD'::amount;
SELECT '1.23456 CLF'::amount;
SELECT '１２ USD'::amount;
SELECT E'12.50\u00a0USD'::amount;
SELECT '12.50 €'::amount;
SELECT '12.50 ÄÖÜ'::amount;
SELECT '(12.50) USD'::amount;
SELECT ('1 ' || repeat('USD', 100000))::amount;
SELECT amount(12.505, 'USD');
SELECT amount(0.5, 'JPY');
SELECT amount('NaN', 'USD');
SELECT amount('Infinity', 'USD');
SELECT amount('-Infinity', 'USD');
SELECT amount(1, 'usd');
SELECT amount(1, '');
SELECT amount(1, 'XXX');
SELECT amount(1, repeat('ä', 100000));

-- What each kind of mistake is told.
\set VERBOSITY default
SELECT ' '::amount;
SELECT '12.5o USD'::amount;
SELECT '12.50'::amount;
SELECT '12.50 ZZZ'::amount;
SELECT '12.50 usd'::amount;
SELECT '12.505 USD'::amount;
SELECT '12.50 USD EUR'::amount;
SELECT '99999999999999999999 USD'::amount;
SELECT ('12.50 ' || repeat('ä', 100000))::amount;
SELECT amount(12.505, 'USD');
SELECT amount(('0.' || repeat('1', 16000))::numeric, 'USD');
SELECT amount(1e30, 'KWD');
SELECT amount('NaN', 'USD');
SELECT amount(1, 'usd');
SELECT amount(1, repeat('ä', 100000));

-- The constructor takes zeros behind the decimals, as their number says nothing in a numeric.
SELECT amount(12.5000, 'USD'), amount(1500.0, 'JPY'), amount(12, 'KWD'), amount(-0.01, 'EUR');

-- NULL in, NULL out.
SELECT NULL::amount IS NULL AS value, amount(NULL, 'USD') IS NULL AS number, amount(1, NULL) IS NULL AS code,
    currency(NULL) IS NULL AS currency, NULL::amount::numeric IS NULL AS cast, NULL::amount + '1 USD' IS NULL AS sum;

-- The only cast is the explicit one to numeric.
SELECT castsource::regtype, casttarget::regtype, castcontext FROM pg_cast
WHERE 'amount'::regtype IN (castsource, casttarget);
SELECT round('12.50 USD'::amount);
SELECT '12.50 USD'::amount + 1;
SELECT 12.50::amount;

-- As columns: default, CHECK, JSON, arrays, domain.
CREATE DOMAIN price AS amount CHECK (VALUE >= amount(0, currency(VALUE)));
CREATE TEMPORARY TABLE product (price price DEFAULT '9.99 EUR', past amount[]);
INSERT INTO product VALUES (DEFAULT, '{1.00 EUR,1500 JPY}');
INSERT INTO product VALUES ('-0.01 EUR');
SELECT to_jsonb(product), past[2] FROM product;
DROP TABLE product;
DROP DOMAIN price;

-- Everything that belongs to the type is described.
SELECT d.classid::regclass, pg_describe_object(d.classid, d.objid, d.objsubid)
FROM pg_depend AS d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    AND pg_describe_object(d.classid, d.objid, d.objsubid) ~ 'amount'
    AND d.classid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_cast'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass)
    AND NOT EXISTS (SELECT FROM pg_description AS c WHERE (c.classoid, c.objoid) = (d.classid, d.objid));
