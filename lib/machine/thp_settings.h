/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System settings that tests change: every old value is written to a state file before the
 * change, so that the next run can restore it even if this one is killed by SIGKILL.
 */
#ifndef THP_SETTINGS_H
#define THP_SETTINGS_H

#include "thp_file.h"

/*
 * Takes the lock that keeps two runs of the suite apart, a flock(2) of the state file,
 * waiting 30 s for another run ($THP_LAZY_LOCK_WAIT, in seconds, for tests of this), and
 * restores what a killed run left behind. 0; -EBUSY if the other run goes on, with the
 * process that has the lock in @why; -EBADMSG if a line of the file is not what
 * thp_settings_set() writes; -errno. Without root it does nothing: 0.
 */
int thp_settings_open(struct thp_why *why);

/* The reason of a SKIP where root may not change a setting: a container, as a rule. */
#define THP_SETTINGS_FORBIDDEN "needs a setting that may not be changed here"

/*
 * Saves the value of @path and writes @value. 0; -ENOENT where the kernel has no such file;
 * -ENOTSUP with a note that is a SKIP (thp_why_default()) where it may not be changed;
 * -errno. A value that was not written is not restored either. A sysfs choice is saved as
 * its selected word.
 */
int thp_settings_set(const char *path, const char *value);

/* The same for files whose old value is put back by writing @undo. */
int thp_settings_set_undo(const char *path, const char *value, const char *undo);

/*
 * Records how to undo a change that the caller makes itself; 0 or -errno. With the sysfs
 * directory of a module and THP_SETTINGS_UNLOAD, restoring unloads the module; with a swap
 * area and THP_SETTINGS_SWAPOFF, it is swapped to no longer.
 */
int thp_settings_note(const char *path, const char *undo);

#define THP_SETTINGS_MODULE "/sys/module/"
#define THP_SETTINGS_UNLOAD "unload"
#define THP_SETTINGS_SWAPOFF "swapoff"

/* Position in the state file, for thp_settings_restore(); bytes. */
long thp_settings_mark(void);

/* For a process that must not change or restore anything: forgets the state file. */
void thp_settings_close(void);

/*
 * Restores, newest first, all settings changed after @mark (0: everything). 0, or the first
 * -errno with the file in @why; it continues after a failure.
 */
int thp_settings_restore(long mark, struct thp_why *why);

#endif /* THP_SETTINGS_H */
