/*
 * billing.amount: exact money.  src/amount.h says which file holds what.
 *
 * Functions of the type are STRICT, IMMUTABLE and PARALLEL SAFE, as those of every base type are.
 * What never raises is LEAKPROOF, so that row security does not keep indexes from being used.
 */

CREATE TYPE billing.amount;

-- Input and output

CREATE FUNCTION billing.amount_in(cstring) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_in';
COMMENT ON FUNCTION billing.amount_in(cstring) IS
    'I/O: a number, white space, an ISO 4217 code in capitals. 22P02 when it is not an amount, too many decimals included; 22003 beyond 64 bits of minor units.';

CREATE FUNCTION billing.amount_out(billing.amount) RETURNS cstring
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_out';
COMMENT ON FUNCTION billing.amount_out(billing.amount) IS
    'I/O: number with all decimals of its currency, space, ISO 4217 code.';

CREATE FUNCTION billing.amount_recv(internal) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_recv';
COMMENT ON FUNCTION billing.amount_recv(internal) IS
    'I/O: int64 minor units in network order, three letters of currency. 22P03 for an unknown currency.';

CREATE FUNCTION billing.amount_send(billing.amount) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_send';
COMMENT ON FUNCTION billing.amount_send(billing.amount) IS
    'I/O: int64 minor units in network order, three letters of currency.';

CREATE TYPE billing.amount (
    INPUT = billing.amount_in,
    OUTPUT = billing.amount_out,
    RECEIVE = billing.amount_recv,
    SEND = billing.amount_send,
    INTERNALLENGTH = 16,
    ALIGNMENT = double,
    STORAGE = plain
);
COMMENT ON TYPE billing.amount IS
    'Exact money: int64 minor units of an ISO 4217 currency with its own number of decimals, such as ''12.50 USD'', ''1500 JPY'', ''1.250 KWD''. Mixing currencies or passing the range is an error.';

-- Conversions

CREATE FUNCTION billing.amount(number numeric, currency text) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount';
COMMENT ON FUNCTION billing.amount(number numeric, currency text) IS
    'An amount of number major units; never rounded. 22023 for an unknown currency, too many decimals, NaN or infinity; 22003 beyond 64 bits of minor units.';

CREATE FUNCTION billing.amount_to_numeric(billing.amount) RETURNS numeric
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_to_numeric';
COMMENT ON FUNCTION billing.amount_to_numeric(billing.amount) IS
    'The amount in major units with all decimals of its currency: 12.50 for 12.50 USD.';

CREATE FUNCTION billing.currency(billing.amount) RETURNS text
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_currency';
COMMENT ON FUNCTION billing.currency(billing.amount) IS
    'The ISO 4217 code of the amount.';

CREATE FUNCTION billing.minor_units(billing.amount) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_minor_units';
COMMENT ON FUNCTION billing.minor_units(billing.amount) IS
    'The amount in minor units: 1250 for 12.50 USD.';

CREATE FUNCTION billing.currency_decimals(currency text) RETURNS integer
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_currency_decimals';
COMMENT ON FUNCTION billing.currency_decimals(currency text) IS
    'Decimals of an ISO 4217 currency in capitals; NULL when no amount can be in it.';

CREATE CAST (billing.amount AS numeric) WITH FUNCTION billing.amount_to_numeric(billing.amount);
COMMENT ON CAST (billing.amount AS numeric) IS
    'Major units with all decimals of the currency; explicit only, as the currency is lost.';

-- Arithmetic

CREATE FUNCTION billing.amount_add(billing.amount, billing.amount) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_add';
COMMENT ON FUNCTION billing.amount_add(billing.amount, billing.amount) IS
    'Implementation of the + operator. 22023 when the currencies differ, 22003 out of range.';

CREATE FUNCTION billing.amount_subtract(billing.amount, billing.amount) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_subtract';
COMMENT ON FUNCTION billing.amount_subtract(billing.amount, billing.amount) IS
    'Implementation of the - operator. 22023 when the currencies differ, 22003 out of range.';

CREATE FUNCTION billing.amount_plus(billing.amount) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_plus';
COMMENT ON FUNCTION billing.amount_plus(billing.amount) IS
    'Implementation of the + prefix operator.';

CREATE FUNCTION billing.amount_negate(billing.amount) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_negate';
COMMENT ON FUNCTION billing.amount_negate(billing.amount) IS
    'Implementation of the - prefix operator. 22003 for the lowest amount.';

CREATE FUNCTION billing.abs(billing.amount) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_abs';
COMMENT ON FUNCTION billing.abs(billing.amount) IS
    'The amount without its sign. 22003 for the lowest amount.';

CREATE FUNCTION billing.amount_multiply(billing.amount, numeric) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_multiply';
COMMENT ON FUNCTION billing.amount_multiply(billing.amount, numeric) IS
    'Implementation of the * operator: rounded once, half away from zero. 22003 out of range, 22023 NaN or infinity.';

CREATE FUNCTION billing.amount_multiply(numeric, billing.amount) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_numeric_multiply';
COMMENT ON FUNCTION billing.amount_multiply(numeric, billing.amount) IS
    'Implementation of the * operator: rounded once, half away from zero. 22003 out of range, 22023 NaN or infinity.';

CREATE FUNCTION billing.amount_divide(billing.amount, numeric) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_divide';
COMMENT ON FUNCTION billing.amount_divide(billing.amount, numeric) IS
    'Implementation of the / operator: rounded once, half away from zero. 22012 divisor zero, 22003 out of range, 22023 NaN or infinity.';

CREATE FUNCTION billing.amount_ratio(billing.amount, billing.amount) RETURNS numeric
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_ratio';
COMMENT ON FUNCTION billing.amount_ratio(billing.amount, billing.amount) IS
    'Implementation of the / operator: the quotient of both as numeric. 22012 divisor zero, 22023 when the currencies differ.';

CREATE OPERATOR billing.+ (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_add,
    COMMUTATOR = OPERATOR(billing.+)
);
COMMENT ON OPERATOR billing.+ (billing.amount, billing.amount) IS
    'Add amounts of one currency.';

CREATE OPERATOR billing.- (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_subtract
);
COMMENT ON OPERATOR billing.- (billing.amount, billing.amount) IS
    'Subtract amounts of one currency.';

CREATE OPERATOR billing.+ (
    RIGHTARG = billing.amount, FUNCTION = billing.amount_plus
);
COMMENT ON OPERATOR billing.+ (NONE, billing.amount) IS
    'The amount itself.';

CREATE OPERATOR billing.- (
    RIGHTARG = billing.amount, FUNCTION = billing.amount_negate
);
COMMENT ON OPERATOR billing.- (NONE, billing.amount) IS
    'The opposite amount.';

CREATE OPERATOR billing.* (
    LEFTARG = billing.amount, RIGHTARG = numeric, FUNCTION = billing.amount_multiply,
    COMMUTATOR = OPERATOR(billing.*)
);
COMMENT ON OPERATOR billing.* (billing.amount, numeric) IS
    'Multiply by a number, rounded half away from zero.';

CREATE OPERATOR billing.* (
    LEFTARG = numeric, RIGHTARG = billing.amount, FUNCTION = billing.amount_multiply,
    COMMUTATOR = OPERATOR(billing.*)
);
COMMENT ON OPERATOR billing.* (numeric, billing.amount) IS
    'Multiply by a number, rounded half away from zero.';

CREATE OPERATOR billing./ (
    LEFTARG = billing.amount, RIGHTARG = numeric, FUNCTION = billing.amount_divide
);
COMMENT ON OPERATOR billing./ (billing.amount, numeric) IS
    'Divide by a number, rounded half away from zero.';

CREATE OPERATOR billing./ (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_ratio
);
COMMENT ON OPERATOR billing./ (billing.amount, billing.amount) IS
    'How often one amount goes into another of its currency.';

-- Comparison: = and <> never raise, the others do when the currencies differ

CREATE FUNCTION billing.amount_eq(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_eq';
COMMENT ON FUNCTION billing.amount_eq(billing.amount, billing.amount) IS
    'Implementation of the = operator. Never raises.';

CREATE FUNCTION billing.amount_ne(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_ne';
COMMENT ON FUNCTION billing.amount_ne(billing.amount, billing.amount) IS
    'Implementation of the <> operator. Never raises.';

CREATE FUNCTION billing.amount_lt(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_lt';
COMMENT ON FUNCTION billing.amount_lt(billing.amount, billing.amount) IS
    'Implementation of the < operator. 22023 when the currencies differ.';

CREATE FUNCTION billing.amount_le(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_le';
COMMENT ON FUNCTION billing.amount_le(billing.amount, billing.amount) IS
    'Implementation of the <= operator. 22023 when the currencies differ.';

CREATE FUNCTION billing.amount_ge(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_ge';
COMMENT ON FUNCTION billing.amount_ge(billing.amount, billing.amount) IS
    'Implementation of the >= operator. 22023 when the currencies differ.';

CREATE FUNCTION billing.amount_gt(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_gt';
COMMENT ON FUNCTION billing.amount_gt(billing.amount, billing.amount) IS
    'Implementation of the > operator. 22023 when the currencies differ.';

-- The order of sorts and indexes: by currency, then by minor units; never raises

CREATE FUNCTION billing.amount_order_lt(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_order_lt';
COMMENT ON FUNCTION billing.amount_order_lt(billing.amount, billing.amount) IS
    'Implementation of the *< operator. Never raises.';

CREATE FUNCTION billing.amount_order_le(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_order_le';
COMMENT ON FUNCTION billing.amount_order_le(billing.amount, billing.amount) IS
    'Implementation of the *<= operator. Never raises.';

CREATE FUNCTION billing.amount_order_ge(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_order_ge';
COMMENT ON FUNCTION billing.amount_order_ge(billing.amount, billing.amount) IS
    'Implementation of the *>= operator. Never raises.';

CREATE FUNCTION billing.amount_order_gt(billing.amount, billing.amount) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_order_gt';
COMMENT ON FUNCTION billing.amount_order_gt(billing.amount, billing.amount) IS
    'Implementation of the *> operator. Never raises.';

CREATE FUNCTION billing.amount_order_cmp(billing.amount, billing.amount) RETURNS integer
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_order_cmp';
COMMENT ON FUNCTION billing.amount_order_cmp(billing.amount, billing.amount) IS
    'btree support: -1, 0 or 1, by currency, then by minor units.';

CREATE FUNCTION billing.amount_hash(billing.amount) RETURNS integer
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_hash';
COMMENT ON FUNCTION billing.amount_hash(billing.amount) IS
    'hash support.';

CREATE FUNCTION billing.amount_hash_extended(billing.amount, bigint) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'billing_amount_hash_extended';
COMMENT ON FUNCTION billing.amount_hash_extended(billing.amount, bigint) IS
    'hash support with a seed.';

CREATE OPERATOR billing.= (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_eq,
    COMMUTATOR = OPERATOR(billing.=), NEGATOR = OPERATOR(billing.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR billing.= (billing.amount, billing.amount) IS
    'Equal in currency and value.';

CREATE OPERATOR billing.<> (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_ne,
    COMMUTATOR = OPERATOR(billing.<>), NEGATOR = OPERATOR(billing.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR billing.<> (billing.amount, billing.amount) IS
    'Different in currency or value.';

-- No selectivity functions here: they call the operator on values of the statistics, and a query
-- would fail while it is planned.

CREATE OPERATOR billing.< (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_lt,
    COMMUTATOR = OPERATOR(billing.>), NEGATOR = OPERATOR(billing.>=)
);
COMMENT ON OPERATOR billing.< (billing.amount, billing.amount) IS
    'Less than an amount of the same currency.';

CREATE OPERATOR billing.<= (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_le,
    COMMUTATOR = OPERATOR(billing.>=), NEGATOR = OPERATOR(billing.>)
);
COMMENT ON OPERATOR billing.<= (billing.amount, billing.amount) IS
    'Less than or equal to an amount of the same currency.';

CREATE OPERATOR billing.>= (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_ge,
    COMMUTATOR = OPERATOR(billing.<=), NEGATOR = OPERATOR(billing.<)
);
COMMENT ON OPERATOR billing.>= (billing.amount, billing.amount) IS
    'Greater than or equal to an amount of the same currency.';

CREATE OPERATOR billing.> (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_gt,
    COMMUTATOR = OPERATOR(billing.<), NEGATOR = OPERATOR(billing.<=)
);
COMMENT ON OPERATOR billing.> (billing.amount, billing.amount) IS
    'Greater than an amount of the same currency.';

CREATE OPERATOR billing.*< (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_order_lt,
    COMMUTATOR = OPERATOR(billing.*>), NEGATOR = OPERATOR(billing.*>=),
    RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR billing.*< (billing.amount, billing.amount) IS
    'Before in the order of sorts and indexes: currency, then value.';

CREATE OPERATOR billing.*<= (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_order_le,
    COMMUTATOR = OPERATOR(billing.*>=), NEGATOR = OPERATOR(billing.*>),
    RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR billing.*<= (billing.amount, billing.amount) IS
    'Before or equal in the order of sorts and indexes: currency, then value.';

CREATE OPERATOR billing.*>= (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_order_ge,
    COMMUTATOR = OPERATOR(billing.*<=), NEGATOR = OPERATOR(billing.*<),
    RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR billing.*>= (billing.amount, billing.amount) IS
    'Behind or equal in the order of sorts and indexes: currency, then value.';

CREATE OPERATOR billing.*> (
    LEFTARG = billing.amount, RIGHTARG = billing.amount, FUNCTION = billing.amount_order_gt,
    COMMUTATOR = OPERATOR(billing.*<), NEGATOR = OPERATOR(billing.*<=),
    RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR billing.*> (billing.amount, billing.amount) IS
    'Behind in the order of sorts and indexes: currency, then value.';

CREATE OPERATOR FAMILY billing.amount_ops USING btree;
COMMENT ON OPERATOR FAMILY billing.amount_ops USING btree IS
    'Amounts by currency, then by value.';
CREATE OPERATOR CLASS billing.amount_ops DEFAULT FOR TYPE billing.amount USING btree
    FAMILY billing.amount_ops AS
    OPERATOR 1 billing.*<,
    OPERATOR 2 billing.*<=,
    OPERATOR 3 billing.=,
    OPERATOR 4 billing.*>=,
    OPERATOR 5 billing.*>,
    FUNCTION 1 billing.amount_order_cmp(billing.amount, billing.amount),
    FUNCTION 4 pg_catalog.btequalimage(oid);
COMMENT ON OPERATOR CLASS billing.amount_ops USING btree IS
    'Amounts by currency, then by value; never raises.';

CREATE OPERATOR FAMILY billing.amount_ops USING hash;
COMMENT ON OPERATOR FAMILY billing.amount_ops USING hash IS
    'Equality of amounts.';
CREATE OPERATOR CLASS billing.amount_ops DEFAULT FOR TYPE billing.amount USING hash
    FAMILY billing.amount_ops AS
    OPERATOR 1 billing.=,
    FUNCTION 1 billing.amount_hash(billing.amount),
    FUNCTION 2 billing.amount_hash_extended(billing.amount, bigint);
COMMENT ON OPERATOR CLASS billing.amount_ops USING hash IS
    'Equality of amounts.';

-- Aggregates

CREATE FUNCTION billing.amount_smaller(billing.amount, billing.amount) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_smaller';
COMMENT ON FUNCTION billing.amount_smaller(billing.amount, billing.amount) IS
    'The smaller of two amounts. 22023 when the currencies differ.';

CREATE FUNCTION billing.amount_larger(billing.amount, billing.amount) RETURNS billing.amount
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_larger';
COMMENT ON FUNCTION billing.amount_larger(billing.amount, billing.amount) IS
    'The larger of two amounts. 22023 when the currencies differ.';

CREATE FUNCTION billing.amount_sum_add(internal, billing.amount) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_sum_add';
COMMENT ON FUNCTION billing.amount_sum_add(internal, billing.amount) IS
    'Transition of sum.';

CREATE FUNCTION billing.amount_sum_remove(internal, billing.amount) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_sum_remove';
COMMENT ON FUNCTION billing.amount_sum_remove(internal, billing.amount) IS
    'Inverse transition of sum.';

CREATE FUNCTION billing.amount_sum_combine(internal, internal) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_sum_combine';
COMMENT ON FUNCTION billing.amount_sum_combine(internal, internal) IS
    'Combination of two partial sums.';

CREATE FUNCTION billing.amount_sum_serialize(internal) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_sum_serialize';
COMMENT ON FUNCTION billing.amount_sum_serialize(internal) IS
    'A partial sum as bytes.';

CREATE FUNCTION billing.amount_sum_deserialize(bytea, internal) RETURNS internal
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_sum_deserialize';
COMMENT ON FUNCTION billing.amount_sum_deserialize(bytea, internal) IS
    'A partial sum from bytes.';

CREATE FUNCTION billing.amount_sum_final(internal) RETURNS billing.amount
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_amount_sum_final';
COMMENT ON FUNCTION billing.amount_sum_final(internal) IS
    'Result of sum.';

CREATE AGGREGATE billing.sum(billing.amount) (
    SFUNC = billing.amount_sum_add,
    STYPE = internal,
    SSPACE = 40,
    FINALFUNC = billing.amount_sum_final,
    COMBINEFUNC = billing.amount_sum_combine,
    SERIALFUNC = billing.amount_sum_serialize,
    DESERIALFUNC = billing.amount_sum_deserialize,
    MSFUNC = billing.amount_sum_add,
    MINVFUNC = billing.amount_sum_remove,
    MSTYPE = internal,
    MSSPACE = 40,
    MFINALFUNC = billing.amount_sum_final,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE billing.sum(billing.amount) IS
    'The sum of amounts of one currency; NULLs are skipped, NULL without rows. 22023 when the currencies differ, 22003 when the sum, not a part of it, is out of range.';

-- Without SORTOP, since the end of an index would not show that a column mixes currencies.
CREATE AGGREGATE billing.min(billing.amount) (
    SFUNC = billing.amount_smaller,
    STYPE = billing.amount,
    COMBINEFUNC = billing.amount_smaller,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE billing.min(billing.amount) IS
    'The least of amounts of one currency; NULLs are skipped, NULL without rows. 22023 when the currencies differ.';

CREATE AGGREGATE billing.max(billing.amount) (
    SFUNC = billing.amount_larger,
    STYPE = billing.amount,
    COMBINEFUNC = billing.amount_larger,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE billing.max(billing.amount) IS
    'The greatest of amounts of one currency; NULLs are skipped, NULL without rows. 22023 when the currencies differ.';
