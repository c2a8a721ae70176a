# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# make demo ARGS='--seconds 20', make bench ARGS='--quick', and so on.
.PHONY: demo test bench

demo test bench:
	scripts/$@.sh $(ARGS)
