/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel logs when something is wrong. One list for the tests, which define
 * COMPLAINT() and include this, and for lab/lib/report.sh, which reads the lines below.
 *
 * Each is a fixed text; "^" stands for the start of a message. A complaint is recognised by
 * how it begins, so a symbol in a call trace or a register dump does not match. The first
 * match counts. LINE: the report is this one line. REPORT: more lines follow, and one of
 * them names the task concerned. BROKEN: a REPORT after which the kernel cannot be trusted,
 * because a task has died in it. HUNG: the same if the task belongs to the suite; other
 * tasks may wait for a slow disk.
 *
 * "page allocation failure", OOM reports and "FAULT_INJECTION: forcing a failure" are not
 * listed: the injectors cause them.
 */
COMPLAINT(LINE, "^BUG: non-zero pgtables_bytes")
COMPLAINT(LINE, "^BUG: Bad rss-counter")
COMPLAINT(LINE, ": bad pmd ")
COMPLAINT(LINE, ": bad pud ")
COMPLAINT(LINE, ": bad pgd ")
COMPLAINT(BROKEN, "^BUG: unable to handle ")
COMPLAINT(BROKEN, "^BUG: Unable to handle ")
COMPLAINT(BROKEN, "^BUG: kernel NULL pointer dereference")
COMPLAINT(BROKEN, "^Unable to handle kernel")
COMPLAINT(BROKEN, "^kernel BUG at ")
COMPLAINT(BROKEN, "^Kernel BUG ")
COMPLAINT(BROKEN, "^Oops")
COMPLAINT(BROKEN, "^Internal error: ")
COMPLAINT(BROKEN, "^general protection fault")
COMPLAINT(BROKEN, " [#1]")
COMPLAINT(BROKEN, "^Kernel panic")
COMPLAINT(HUNG, "^INFO: task ")
COMPLAINT(BROKEN, "Watchdog detected hard LOCKUP")
COMPLAINT(REPORT, "^BUG: ")
COMPLAINT(REPORT, "^BUG ")
COMPLAINT(REPORT, "^WARNING: ")
COMPLAINT(REPORT, "^UBSAN: ")
COMPLAINT(REPORT, "^ODEBUG: ")
COMPLAINT(REPORT, "^list_del corruption")
COMPLAINT(REPORT, "^list_add corruption")
COMPLAINT(REPORT, "^refcount_t: ")
COMPLAINT(REPORT, "^INFO: possible ")
COMPLAINT(REPORT, "^INFO: suspicious ")
COMPLAINT(REPORT, "^INFO: trying to register ")
COMPLAINT(REPORT, "^watchdog: BUG: ")
COMPLAINT(REPORT, "^rcu: INFO: ")
COMPLAINT(REPORT, " kthread starved for ")
