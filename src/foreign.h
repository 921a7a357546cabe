/*
 * foreign.h
 *	  What of our tables is somebody else's: triggers and constraints.
 */
#ifndef BILLING_FOREIGN_H
#define BILLING_FOREIGN_H

#include "utils/rel.h"
#include "utils/reltrigger.h"

extern bool foreign_has_trigger(Relation table, bool (*concerns)(const Trigger *));
extern bool foreign_has_check(Relation table);

#endif /* BILLING_FOREIGN_H */
