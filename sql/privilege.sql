-- Nothing is granted to PUBLIC. Comes last: it covers everything above.

REVOKE ALL ON ALL ROUTINES IN SCHEMA billing FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA billing FROM PUBLIC;
REVOKE ALL ON TYPE billing.amount FROM PUBLIC;
REVOKE ALL ON TYPE billing.access FROM PUBLIC;
REVOKE ALL ON TYPE billing.consumption FROM PUBLIC;
REVOKE ALL ON TYPE billing.receipt FROM PUBLIC;
