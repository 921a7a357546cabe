/*
 * upkeep.c
 *	  The queue of accounts that want a look by the background worker.
 *
 * A request stays in the queue until the transaction that served it has
 * committed; meanwhile it is put off, so that nobody else takes it. When the
 * queue is full, or the worker does not come, who spends sums by himself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "upkeep.h"
#include "worker_internal.h"

/*
 * A hot account is summed at most that often: each time stops those who consume
 * for a moment.
 */
#define SUM_PAUSE (200 * 1000)

/* How long a request is left to whoever took it. */
#define CLAIM USECS_PER_SEC

/* After a look that came to nothing: 25 ms, doubled up to 12.8 s. */
#define AGAIN_PAUSE(attempts) ((INT64CONST(25) << Min(attempts, 9)) * 1000)

/* No request is put off for longer than that: then the clock was set back. */
#define LONGEST_PAUSE (15 * USECS_PER_SEC)

typedef struct UpkeepShared
{
	LWLock lock;
	uint64 stamp;
	int count;
	UpkeepRequest queue[UPKEEP_QUEUE];
} UpkeepShared;

/* What this transaction notes, or has served. */
typedef struct OwnRequest
{
	UpkeepRequest request;
	bool is_served;
	bool again;
} OwnRequest;

static UpkeepShared *shared = NULL;

/* Memory outlives the transaction, so that its end need not free anything. */
static OwnRequest *own = NULL;
static int own_count = 0;
static int own_capacity = 0;

static void transaction_ended(XactEvent event, void *arg);

Size
upkeep_shared_size(void)
{
	return sizeof(UpkeepShared);
}

void
upkeep_startup(void)
{
	bool found;

	shared = ShmemInitStruct("billing upkeep", upkeep_shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, upkeep_shared_size());
		LWLockInitialize(&shared->lock, LWLockNewTrancheId());
	}
	LWLockRegisterTranche(shared->lock.tranche, "BillingUpkeep");
}

static void
reserve_own(void)
{
	if (own == NULL)
	{
		RegisterXactCallback(transaction_ended, NULL);
		own_capacity = 16;
		own = MemoryContextAlloc(TopMemoryContext, sizeof(OwnRequest) * own_capacity);
	}
	else if (own_count == own_capacity)
	{
		own = repalloc_huge(own, sizeof(OwnRequest) * (Size) own_capacity * 2);
		own_capacity *= 2;
	}
}

static OwnRequest *
add_own(void)
{
	OwnRequest *request;

	reserve_own();
	request = &own[own_count++];
	memset(request, 0, sizeof(OwnRequest));
	return request;
}

static UpkeepRequest *
find(Oid database, const pg_uuid_t *account)
{
	for (int i = 0; i < shared->count; i++)
		if (memcmp(shared->queue[i].account.data, account->data, UUID_LEN) == 0 &&
			shared->queue[i].database == database)
			return &shared->queue[i];
	return NULL;
}

/*
 * The end of the transaction will ask the worker to look at the account. False:
 * the caller has to see to it, as there is no queue, or nobody would come in time
 * to sum. That a grant is low or a plan lost can wait, for expire_due() too.
 */
bool
upkeep_note(const pg_uuid_t *account, uint8 wants)
{
	OwnRequest *last = own_count > 0 ? &own[own_count - 1] : NULL;
	bool attended;

	if (shared == NULL)
		return false;
	attended = worker_attends() && shared->count < UPKEEP_QUEUE;
	if (wants == UPKEEP_CHECKPOINT && !attended)
		return false;
	if (last == NULL || last->is_served ||
		memcmp(last->request.account.data, account->data, UUID_LEN) != 0)
		last = add_own();
	last->request.account = *account;
	last->request.wants |= wants;
	return true;
}

/* Neither allocates nor raises. False: there is no room. */
static bool
push(const UpkeepRequest *note, TimestampTz now)
{
	UpkeepRequest *request = find(MyDatabaseId, &note->account);

	if (request == NULL && shared->count == UPKEEP_QUEUE)
		return false;
	if (request == NULL)
	{
		request = &shared->queue[shared->count++];
		*request = *note;
		request->database = MyDatabaseId;
		request->at = now + SUM_PAUSE;
	}
	if (note->wants & UPKEEP_TELL)
		request->at = now;
	request->wants |= note->wants;
	request->stamp = ++shared->stamp;
	return true;
}

/* After a commit. What was noted again meanwhile stays. */
static void
settle(const OwnRequest *served, TimestampTz now)
{
	UpkeepRequest *request = find(MyDatabaseId, &served->request.account);

	if (request == NULL && served->again)
		(void) push(&served->request, now);
	if (request == NULL)
		return;
	if (served->again)
		request->at = now + AGAIN_PAUSE(request->attempts++);
	else if (request->stamp == served->request.stamp)
		*request = shared->queue[--shared->count];
	else
	{
		request->at = request->wants & UPKEEP_TELL ? now : now + SUM_PAUSE;
		request->attempts = 0;
	}
}

static void
give_back(const UpkeepRequest *claimed, TimestampTz now)
{
	UpkeepRequest *request = find(MyDatabaseId, &claimed->account);

	if (request != NULL)
		request->at = now;
}

static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	TimestampTz now;
	bool lost = false;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (own_count == 0)
		return;
	now = GetCurrentTimestamp();
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < own_count; i++)
		if (!own[i].is_served)
			lost |= !push(&own[i].request, now) && (own[i].request.wants & UPKEEP_TELL);
		else if (event == XACT_EVENT_COMMIT)
			settle(&own[i], now);
		else
			give_back(&own[i].request, now);
	LWLockRelease(&shared->lock);
	own_count = 0;
	if (lost)
		sweep_again(worker_own_slot());
	worker_tell_upkeep(upkeep_next(MyDatabaseId));
}

/* Not to be served yet. */
static bool
is_put_off(const UpkeepRequest *request, TimestampTz now)
{
	return request->at > now && request->at <= now + LONGEST_PAUSE;
}

/* Requests of this database that may be served now; one that failed with others comes alone. */
int
upkeep_claim(UpkeepRequest *list, int max)
{
	TimestampTz now = GetCurrentTimestamp();
	int count = 0;

	if (shared == NULL || shared->count == 0)
		return 0;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->count && count < max; i++)
	{
		UpkeepRequest *request = &shared->queue[i];

		if (request->database != MyDatabaseId || is_put_off(request, now) ||
			(request->apart && count > 0))
			continue;
		list[count++] = *request;
		request->at = now + CLAIM;
		if (request->apart)
			break;
	}
	LWLockRelease(&shared->lock);
	return count;
}

/* The transaction has served it, if it commits; again: there is something left to do. */
void
upkeep_served(const UpkeepRequest *request, bool again)
{
	OwnRequest *served = add_own();

	served->request = *request;
	served->is_served = true;
	served->again = again;
}

/* Taken and not looked at. */
void
upkeep_leave(const UpkeepRequest *request)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	give_back(request, GetCurrentTimestamp());
	LWLockRelease(&shared->lock);
}

/* Of a transaction that failed: which of them it was, nobody knows, unless it was one alone. */
void
upkeep_postpone(const UpkeepRequest *list, int count)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < count; i++)
	{
		UpkeepRequest *request = find(MyDatabaseId, &list[i].account);

		if (request == NULL)
			continue;
		request->apart = true;
		request->at = count > 1 ? now : now + AGAIN_PAUSE(request->attempts++);
	}
	LWLockRelease(&shared->lock);
}

/* When the next request of a database may be served; DT_NOEND: there is none. */
TimestampTz
upkeep_next(Oid database)
{
	TimestampTz next = DT_NOEND;
	TimestampTz now = GetCurrentTimestamp();

	if (shared == NULL || shared->count == 0)
		return next;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < shared->count; i++)
		if (shared->queue[i].database == database)
			next = Min(next, is_put_off(&shared->queue[i], now) ? shared->queue[i].at : now);
	LWLockRelease(&shared->lock);
	return next;
}

/* Whether many more can be noted at once, and leave room for those who spend. */
bool
upkeep_has_room(void)
{
	return shared != NULL && shared->count < UPKEEP_QUEUE / 4;
}

/* The database, or the extension in it, is gone. */
void
upkeep_forget(Oid database)
{
	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = shared->count - 1; i >= 0; i--)
		if (shared->queue[i].database == database)
			shared->queue[i] = shared->queue[--shared->count];
	LWLockRelease(&shared->lock);
}
