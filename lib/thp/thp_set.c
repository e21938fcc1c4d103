// SPDX-License-Identifier: GPL-2.0
#include <errno.h>

#include "thp_contract.h"
#include "thp_meter.h"
#include "thp_set.h"

int thp_set_create(struct thp_set *s, enum thp_kind kind, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	s->n = thp_env.unit;
	if (s->n > THP_SET_MAX)
		return thp_why(why, -EINVAL, "%u THPs per kB of tables, at most %d", s->n,
			       THP_SET_MAX);
	for (i = 0; i < s->n && !ret; i++)
		ret = thp_map_create(&s->map[i], kind, why);
	return ret;
}

int thp_set_fault(struct thp_set *s, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < s->n && !ret; i++)
		ret = thp_map_fault(&s->map[i], why);
	return ret;
}

int thp_set_new(struct thp_set *s, enum thp_kind kind, struct thp_why *why)
{
	int ret = thp_set_create(s, kind, why);

	return ret ? ret : thp_set_fault(s, why);
}

int thp_set_intact(const struct thp_set *s, enum thp_state state, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < s->n && !ret; i++) {
		ret = thp_map_expect(&s->map[i], state, why);
		if (!ret)
			ret = thp_map_check(&s->map[i], 0, thp_env.nr, why);
	}
	return ret;
}

int thp_set_split(struct thp_set *s, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < s->n && !ret; i++)
		ret = thp_split_at(thp_page(&s->map[i], 1), why);
	return ret;
}

int thp_set_zap(struct thp_set *s, long each, struct thp_why *why)
{
	struct thp_meter meter;
	unsigned int i;
	int ret;

	ret = thp_meter_start(&meter, 0, why);
	for (i = 0; i < s->n && !ret; i++) {
		ret = thp_map_zap(&s->map[i]);
		if (ret)
			return thp_why(why, ret, "munmap: %s", thp_errno_name(ret));
	}
	return ret ? ret : thp_meter_stop(&meter, -each * (long)s->n, 0, "munmap", why);
}

int thp_set_stop_split(const struct thp_set *s, struct thp_meter *m, const char *what,
		       struct thp_why *why)
{
	return thp_meter_stop(m, s->n * thp_tables_split(s->map[0].kind), s->n, what, why);
}

int thp_set_stop_swapped(const struct thp_set *s, struct thp_meter *m, const char *what,
			 struct thp_swapped *swapped, struct thp_why *why)
{
	unsigned int i;
	int ret = thp_meter_read(m, why);

	*swapped = (struct thp_swapped){ 0 };
	for (i = 0; i < s->n && !ret; i++)
		ret = thp_swapped_look(swapped, s->map[i].thp, why);
	return ret ? ret : thp_swapped_expect(m, swapped, swapped, what, why);
}

void thp_set_destroy(struct thp_set *s)
{
	unsigned int i;

	for (i = 0; i < s->n; i++)
		thp_map_destroy(&s->map[i]);
	s->n = 0;
}
