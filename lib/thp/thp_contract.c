// SPDX-License-Identifier: GPL-2.0
#include <string.h>

#include "thp_contract.h"

static bool is_hash(void)
{
	return !strcmp(thp_env.mmu, "Hash");
}

long thp_tables_mapped(enum thp_kind kind)
{
	switch (kind) {
	case THP_ANON:
	case THP_DEVICE:
	case THP_SWAPPED:
	case THP_ZERO: return thp_env.contract == THP_EAGER;
	case THP_SHMEM: return is_hash();
	case THP_SMALL: return 1;
	case THP_NONE: return 0;
	}
	return 0;
}

long thp_tables_split(enum thp_kind kind)
{
	if (kind == THP_SHMEM)
		return -thp_tables_mapped(kind);
	return thp_env.contract == THP_LAZY;
}

long thp_tables_collapse(void)
{
	return thp_env.contract == THP_LAZY ? -1 : 0;
}

bool thp_split_allocates(enum thp_kind kind)
{
	return thp_env.contract == THP_LAZY &&
	       (kind & (THP_ANON | THP_ZERO | THP_DEVICE | THP_SWAPPED));
}
