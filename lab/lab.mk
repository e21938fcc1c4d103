# SPDX-License-Identifier: GPL-2.0
#
# The suite on every stock kernel, in virtual machines. Included by the suite's
# Makefile outside a kernel tree only. LAB_KERNELS and LAB_FLAGS choose others:
#	make lab LAB_KERNELS=v7-x86_64 LAB_FLAGS="--repeat 10"

LAB_MK_DIR := $(dir $(lastword $(MAKEFILE_LIST)))
LAB_KERNELS ?= stock
LAB_FLAGS ?=

lab:
	$(LAB_MK_DIR)lab run $(LAB_FLAGS) $(LAB_KERNELS)

.PHONY: lab
