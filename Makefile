# Builds with PGXS, in this directory or, started as `make -f …/Makefile`, in any other.
# The targets of a checkout (demo, test, bench, cluster, format) need no server: see README.md.

EXTENSION = billing
MODULE_big = billing

SRC := $(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST))))
TOOLS = $(SRC)/test/tools

# META.json is the one source of the version; an extension version is its first two numbers.
EXTVERSION := $(shell sed -n '/"version": *"/{s/.*"version": *"\([0-9]*\.[0-9]*\).*/\1/p;q;}' $(SRC)/META.json)
CONTROLVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" $(SRC)/$(EXTENSION).control)
ifneq ($(EXTVERSION),$(CONTROLVERSION))
$(error META.json says version $(EXTVERSION), $(EXTENSION).control says $(CONTROLVERSION))
endif

# The install script of the first version, in this order. What came later is in the update scripts:
# a new installation runs them too, so that it ends where an old one does.
SQL_PIECES = \
	schema.sql \
	amount.sql \
	period.sql \
	catalogue.sql \
	account.sql \
	subscription.sql \
	token.sql \
	user.sql \
	event.sql \
	access.sql \
	expiry.sql \
	guard.sql \
	order.sql \
	binding.sql \
	audit.sql \
	view.sql \
	report.sql \
	worker.sql \
	restore.sql \
	privilege.sql \
	dump.sql

SQL_UNLISTED := $(filter-out $(SQL_PIECES) $(EXTENSION)--%,$(notdir $(wildcard $(SRC)/sql/*.sql)))
ifneq ($(SQL_UNLISTED),)
$(error not in SQL_PIECES of the Makefile: $(SQL_UNLISTED))
endif

UPDATES := $(sort $(notdir $(wildcard $(SRC)/sql/$(EXTENSION)--*--*.sql)))
FIRSTVERSION = 1.0

# As released, once it is; until then it follows the pieces.
FROZEN := $(wildcard $(SRC)/sql/frozen/$(EXTENSION)--$(FIRSTVERSION).sql)

INSTALL_SCRIPT_SQL = sql/$(EXTENSION)--$(EXTVERSION).sql
FIRST_SCRIPT_SQL = sql/$(EXTENSION)--$(FIRSTVERSION).sql
DATA = $(addprefix sql/,$(UPDATES))
DATA_built = $(INSTALL_SCRIPT_SQL) $(FIRST_SCRIPT_SQL)

OBJS = $(patsubst $(SRC)/%.c,%.o,$(sort $(wildcard $(SRC)/src/*.c)))
SHLIB_LINK = -lsodium
# A linker script instead of -fvisibility=hidden: in PostgreSQL 15 PG_FUNCTION_INFO_V1 declares
# the function without an attribute that would export it again.
SHLIB_EXPORTS = src/exports.txt

REGRESS := $(patsubst $(SRC)/test/sql/%.sql,%,$(sort $(wildcard $(SRC)/test/sql/*.sql)))
REGRESS_OPTS = --inputdir=$(SRC)/test --encoding=UTF8 \
	--load-extension=btree_gist --load-extension=$(EXTENSION)
ISOLATION := $(patsubst $(SRC)/test/isolation/specs/%.spec,%,$(sort $(wildcard $(SRC)/test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(SRC)/test/isolation --encoding=UTF8 \
	--load-extension=btree_gist --load-extension=$(EXTENSION)

EXTRA_CLEAN = src/*.d .build-flags .build-objects

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

.PHONY: all demo test matrix freeze torture torture-tests fuzz bench cluster cluster-stop format check-format lint \
	coverage sanitize valgrind assert-server check-objects
all:

# What was given to make on its command line is for the build within as well.
SANDBOX = BUILD_VARIABLES='$(MAKEOVERRIDES)' $(TOOLS)/sandbox

demo:
	@$(SANDBOX) demo test/tools/with-cluster demo/demo

# T='test/sql/amount.sql test/t/crash.pl': only these.
test:
	@$(SANDBOX) test test/tools/with-cluster test/tools/run-tests $(T)

# V='17 18': only these versions.
matrix:
	@T='$(T)' $(TOOLS)/matrix $(V)

# At the release of the first version: from then on its script stays as it is.
freeze:
	mkdir -p $(SRC)/sql/frozen
	{ printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION) CASCADE" to load this file. \quit'; \
	  cat $(addprefix $(SRC)/sql/,$(SQL_PIECES)); } >$(SRC)/sql/frozen/$(EXTENSION)--$(FIRSTVERSION).sql

# All that takes long, the parts in turn; torture-tests: the files of test/torture.
torture:
	@$(TOOLS)/torture

torture-tests:
	@$(SANDBOX) test test/tools/with-cluster test/tools/run-torture

fuzz:
	@$(SANDBOX) test test/fuzz/run

bench:
	@$(SANDBOX) demo test/tools/with-cluster --durable test/bench/run

cluster:
	@BUILD_VARIABLES='$(MAKEOVERRIDES)' $(TOOLS)/cluster start

cluster-stop:
	@$(TOOLS)/cluster stop

# T as for test.
coverage sanitize valgrind assert-server:
	@$(TOOLS)/$@ $(T)

format check-format lint:
	@$(TOOLS)/$@

ifneq ($(wildcard $(PGXS)),)

# PostgreSQL's headers are a system's: only our own code answers to -Wextra. gcc and clang then
# ignore the -I of the same directory.
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CFLAGS = -Wall -Wextra -Werror -MMD -MP
ifneq ($(findstring clang,$(shell $(CC) --version 2>/dev/null)),)
# PostgreSQL passes on the flags of the compiler it was built with, and that was gcc.
PG_CFLAGS += -Wno-unknown-warning-option -Wno-ignored-optimization-argument
else
# PG_FINALLY: gcc means the macro's own _do_rethrow, which is set after the jump only.
PG_CFLAGS += -Wno-clobbered
endif

# PostgreSQL 15 looks for a test's script and its expected output beside the output first: where
# that is the checkout it would run our install script's pieces of the same names.
REGRESS_PREP = expected-link
ifeq ($(SRC),.)
REGRESS_OUTPUT = build/installcheck
REGRESS_OPTS += --outputdir=$(REGRESS_OUTPUT)
else
REGRESS_OUTPUT = .
endif

include $(PGXS)

ifneq ($(SRC),.)
# Only sources may be found there: with VPATH make would take objects too, of another build.
override VPATH :=
vpath %.c $(SRC)
vpath %.txt $(SRC)
vpath %.control $(SRC)
$(shell mkdir -p src sql)
endif

# PostgreSQL 16 looks for expected output in directories of its own.
ifneq ($(filter-out 15,$(MAJORVERSION)),)
REGRESS_OPTS += --expecteddir=$(SRC)
ISOLATION_OPTS += --expecteddir=$(SRC)/test/isolation
endif

.PHONY: expected-link
expected-link:
	mkdir -p $(REGRESS_OUTPUT)
	ln -sfn $(abspath $(SRC)/expected) $(REGRESS_OUTPUT)/expected

# Written only when what they hold changes: another compiler, flag or server means to compile
# everything anew, another list of sources to link.
.build-flags: HOLDS = $(CC) $(CFLAGS) $(CPPFLAGS) $(VERSION)
.build-objects: HOLDS = $(OBJS)
.build-flags .build-objects: FORCE
	@[ "$$(cat $@ 2>/dev/null)" = '$(HOLDS)' ] || echo '$(HOLDS)' >$@
.PHONY: FORCE

$(OBJS): .build-flags
$(shlib): .build-objects
# -MMD sees the headers of the object; the bitcode has the same.
$(OBJS:.o=.bc): %.bc: %.o
-include $(OBJS:.o=.d)

check-objects: $(OBJS)

ifeq ($(SRC),.)
clean: cluster-stop
EXTRA_CLEAN += build
endif

SQL_SOURCES = $(addprefix $(SRC)/sql/,$(SQL_PIECES))
SQL_FIRST_LINE = '\echo Use "CREATE EXTENSION $(EXTENSION) CASCADE" to load this file. \quit'

# An update script's first line is psql's.
$(INSTALL_SCRIPT_SQL): $(SRC)/Makefile $(SRC)/META.json $(SQL_SOURCES) $(addprefix $(SRC)/sql/,$(UPDATES))
	{ printf '%s\n' $(SQL_FIRST_LINE); cat $(SQL_SOURCES); \
	  for update in $(addprefix $(SRC)/sql/,$(UPDATES)); do tail -n +2 $$update; done; } >$@.new
	mv $@.new $@

$(FIRST_SCRIPT_SQL): $(SRC)/Makefile $(SQL_SOURCES) $(FROZEN)
ifneq ($(FROZEN),)
	cp $(FROZEN) $@.new
else
	{ printf '%s\n' $(SQL_FIRST_LINE); cat $(SQL_SOURCES); } >$@.new
endif
	mv $@.new $@

else

all install installdirs uninstall installcheck clean:
	@echo 'PGXS not found: install the server headers of PostgreSQL, or set PG_CONFIG.' >&2
	@exit 1

endif
