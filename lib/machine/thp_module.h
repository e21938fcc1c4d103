/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel modules that tests need, loaded while the suite runs: config asks for some drivers
 * as modules, as most distributions build them, and nothing else loads them.
 */
#ifndef THP_MODULE_H
#define THP_MODULE_H

/*
 * Loads by modprobe(8), unless they are loaded already: test_hmm, the driver of device
 * memory, and hwpoison_inject, which gives poisoned pages back. The state file records what
 * it loads, so that thp_settings_restore() unloads it, also after a SIGKILL. Without root,
 * or without the modules, it does nothing.
 */
void thp_module_load(void);

#endif /* THP_MODULE_H */
