// SPDX-License-Identifier: GPL-2.0
/* What the kernel's tracepoints say; see mmu_mirror_trace.h. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mmu_mirror_trace.h"
#include "mmu_mirror_util.h"

#define INSTANCE "/sys/kernel/tracing/instances/mmu_mirror_test"
#define RECORD_CMD "/sys/kernel/tracing/options/record-cmd"

/*
 * An instance takes over from its parent, and for good, that the names of tasks
 * are recorded: the scheduler's tracepoints would be switched on with ours.
 */
static bool make_instance(void)
{
	long names = read_number(RECORD_CMD);
	bool made;

	write_number(RECORD_CMD, 0);
	made = !mkdir(INSTANCE, 0700);
	if (names > 0)
		write_number(RECORD_CMD, names);
	return made;
}

const char *trace_start(const char *system)
{
	char path[128];

	if (access("/sys/kernel/tracing/instances", F_OK))
		return "the kernel traces no events";
	/* One that died left it. */
	trace_stop();
	if (!make_instance())
		return "tracefs gives no instance";
	snprintf(path, sizeof(path), INSTANCE "/events/%s/enable", system);
	if (write_text(path, "1") && write_text(INSTANCE "/tracing_on", "1"))
		return NULL;
	trace_stop();
	return "the events cannot be switched on";
}

void trace_pause(void)
{
	write_text(INSTANCE "/events/enable", "0");
}

void trace_stop(void)
{
	trace_pause();
	rmdir(INSTANCE);
}

/* The next line of this event's, from its fields on. */
static char *next_event(FILE *file, const char *event, char **line,
			size_t *size)
{
	char name[64];
	char *at;

	snprintf(name, sizeof(name), ": %s: ", event);
	while (getline(line, size, file) > 0) {
		at = strstr(*line, name);
		if (at && **line != '#') {
			at += strlen(name);
			at[strcspn(at, "\n")] = 0;
			return at;
		}
	}
	return NULL;
}

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);
	const char *at = text;

	while ((at = strstr(at, word))) {
		if ((at == text || at[-1] == ' ') && (!at[len] || at[len] == ' '))
			return true;
		at += len;
	}
	return false;
}

static bool has_words(const char *text, const char *words)
{
	char *copy = strdup(words), *save, *word;
	bool all = true;

	for (word = strtok_r(copy, " ", &save); word && all;
	     word = strtok_r(NULL, " ", &save))
		all = has_word(text, word);
	free(copy);
	return all;
}

unsigned int trace_count(const char *event, const char *words, ...)
{
	FILE *file = fopen(INSTANCE "/trace", "r");
	unsigned int n = 0;
	char *line = NULL, *at;
	char wanted[512];
	size_t size = 0;
	va_list ap;

	va_start(ap, words);
	vsnprintf(wanted, sizeof(wanted), words, ap);
	va_end(ap);
	if (!file)
		return 0;
	while ((at = next_event(file, event, &line, &size)))
		n += has_words(at, wanted);
	free(line);
	fclose(file);
	return n;
}

unsigned long trace_sum(const char *event, const char *field)
{
	FILE *file = fopen(INSTANCE "/trace", "r");
	size_t len = strlen(field), size = 0;
	char *line = NULL, *at, *save, *word;
	unsigned long sum = 0;

	if (!file)
		return 0;
	while ((at = next_event(file, event, &line, &size)))
		for (word = strtok_r(at, " ", &save); word;
		     word = strtok_r(NULL, " ", &save))
			if (!strncmp(word, field, len) && word[len] == '=')
				sum += strtoul(word + len + 1, NULL, 0);
	free(line);
	fclose(file);
	return sum;
}
