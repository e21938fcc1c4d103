// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "thp_file.h"

ssize_t thp_read_file(const char *path, char *buf, size_t len)
{
	size_t got = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return thp_note(-errno, "%s cannot be opened", path);
	while (got < len - 1) {
		n = read(fd, buf + got, len - 1 - got);
		if (n < 0) {
			int err = errno;

			if (err == EINTR)
				continue;
			close(fd);
			return thp_note(-err, "%s cannot be read", path);
		}
		if (!n)
			break;
		got += n;
	}
	close(fd);
	buf[got] = '\0';
	return got;
}

int thp_write_file(const char *path, const char *text)
{
	ssize_t n;
	int fd, ret = 0;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return thp_note(-errno, "%s cannot be opened for writing", path);
	n = write(fd, text, strlen(text));
	if (n < 0)
		ret = -errno;
	else if ((size_t)n != strlen(text))
		ret = -EIO;
	close(fd);
	return ret ? thp_note(ret, "%s does not take '%s'", path, text) : 0;
}

int thp_write_fmt(const char *path, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		return -E2BIG;
	return thp_write_file(path, text);
}

int thp_read_u64(const char *path, uint64_t *val)
{
	char buf[64], *end;
	ssize_t n;

	n = thp_read_file(path, buf, sizeof(buf));
	if (n < 0)
		return n;
	errno = 0;
	*val = strtoull(buf, &end, 0);
	return end == buf || errno ? thp_note(-EINVAL, "%s holds no number", path) : 0;
}

int thp_field_u64(const char *text, const char *key, uint64_t *val)
{
	size_t len = strlen(key);
	const char *p = text;

	while (p && *p) {
		if (!strncmp(p, key, len) && (p[len] == ':' || p[len] == ' ')) {
			*val = strtoull(p + len + 1, NULL, 10);
			return 0;
		}
		p = strchr(p, '\n');
		if (p)
			p++;
	}
	return -ENOENT;
}

long long thp_read_field(const char *path, const char *key)
{
	static char text[8192];
	uint64_t val;
	ssize_t n;

	n = thp_read_file(path, text, sizeof(text));
	if (n < 0)
		return n;
	return thp_field_u64(text, key, &val) ? -ENOENT : (long long)val;
}

int thp_read_choice(const char *path, char *buf, size_t len)
{
	char text[256], *open, *close;
	ssize_t n;

	n = thp_read_file(path, text, sizeof(text));
	if (n < 0)
		return n;
	open = strchr(text, '[');
	close = open ? strchr(open, ']') : NULL;
	open = close ? open + 1 : text;
	if (!close)
		close = text + strcspn(text, "\n");
	if ((size_t)(close - open) >= len)
		return -EINVAL;
	*close = '\0';
	strcpy(buf, open);
	return 0;
}

bool thp_file_exists(const char *path)
{
	return !access(path, F_OK);
}
