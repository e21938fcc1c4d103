// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "bench_print.h"

void bench_print_head(const char *program)
{
	struct utsname u;

	uname(&u);
	printf("# %s: %s %s, %s, %zu B per table; all figures per THP\n", program, u.release,
	       u.machine, thp_mode_name(thp_env.measured), thp_env.table);
	printf("# %-36s %5s %5s %11s %7s %11s %8s %7s %7s\n", "row", "THPs", "procs", "ns",
	       "spread", "instr", "B", "tables", "splits");
}

/* What there is to say about a row without figures. */
static const char *no_figures(const struct bench_result *r)
{
	return r->why.text[0] ? r->why.text : "failed without a cause";
}

void bench_print_line(const struct bench_result *r)
{
	char instructions[32] = "-";

	printf("  %-36s %5u %5u ", r->id, r->thps, r->procs);
	if (!r->rounds) {
		printf("not measured: %s\n", no_figures(r));
		return;
	}
	if (r->counted)
		snprintf(instructions, sizeof(instructions), "%.0f", r->instructions.median);
	printf("%11.0f %c%5.0f%% %11s %+8.0f %+7.2f %7.2f\n", r->ns.median,
	       r->ns.noisy ? '~' : ' ', r->ns.spread * 100, instructions, r->bytes,
	       r->bytes / (double)thp_env.table, r->splits);
}

const char *bench_quote(char *buf, size_t len, const char *text)
{
	size_t n = 0;

	buf[n++] = '"';
	/* Room for the longest escape, the quote and the end. */
	for (; *text && n + 8 <= len; text++) {
		if ((unsigned char)*text < ' ')
			n += snprintf(buf + n, len - n, "\\u%04x", *text);
		else if (*text == '"' || *text == '\\')
			n += snprintf(buf + n, len - n, "\\%c", *text);
		else
			buf[n++] = *text;
	}
	buf[n++] = '"';
	buf[n] = '\0';
	return buf;
}

static void print_stats(const char *name, const struct bench_stats *s)
{
	printf(",\"%s\":%.1f,\"%s_min\":%.1f,\"%s_max\":%.1f,\"%s_spread\":%.4f", name, s->median,
	       name, s->min, name, s->max, name, s->spread);
}

void bench_print_json(const struct bench_result *r)
{
	char text[2 * THP_WHY_LEN];
	struct utsname u;

	uname(&u);
	printf("{\"kernel\":%s", bench_quote(text, sizeof(text), u.release));
	printf(",\"arch\":%s", bench_quote(text, sizeof(text), u.machine));
	printf(",\"mode\":\"%s\",\"program\":\"%s\",\"row\":\"%s\",\"kind\":\"%s\"",
	       thp_mode_name(thp_env.measured), r->program, r->id, thp_kind_name(r->kind));
	printf(",\"thp_bytes\":%zu,\"table_bytes\":%zu", thp_env.pmd, thp_env.table);
	printf(",\"thps\":%u,\"procs\":%u,\"rounds\":%u", r->thps, r->procs, r->rounds);
	if (!r->rounds) {
		printf(",\"%s\":%s}\n", r->why.skip ? "skipped" : "failed",
		       bench_quote(text, sizeof(text), no_figures(r)));
		return;
	}
	print_stats("ns", &r->ns);
	printf(",\"noisy\":%s", r->ns.noisy ? "true" : "false");
	if (r->counted)
		print_stats("instructions", &r->instructions);
	else
		printf(",\"instructions\":null");
	printf(",\"bytes\":%.1f,\"tables\":%.4f,\"splits\":%.4f}\n", r->bytes,
	       r->bytes / (double)thp_env.table, r->splits);
}
