# The front door: everything a newcomer types. `make help` lists it.
# CMake does the building (CMakePresets.json); this file only names the steps.

SHELL := /bin/bash
.DEFAULT_GOAL := help
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
DESTDIR ?=
PROGRAMS := hozon hozond hozon-stored hozon-supervisor hozon-ram hozon-freeze hozon-check

CONFIGURE = cmake --preset $(1) --log-level=WARNING >/dev/null

.PHONY: help deps build demo test soak soak-kill differential sim storm mutants nightly rot bench bench-quick asan tsan valgrind fuzz lint format install clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | \
	  while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

deps: ## install the Debian packages that are missing
	@tools/bootstrap build guest

# One build directory for everything ordinary: the demo, the tests and what is installed are the
# same programs, and nothing is compiled twice.
build: deps ## build the programs (build/check/bin)
	@$(call CONFIGURE,check)
	@cmake --build --preset check -j $(JOBS) --target $(PROGRAMS)

demo: build ## boot a real guest, snapshot it live, break it, bring it back (< 3 minutes)
	@tools/demo --programs build/check/bin

test: deps ## build everything and run the fast tests
	@$(call CONFIGURE,check)
	@cmake --build --preset check -j $(JOBS)
	@ctest --preset check -j $(JOBS)

soak: deps ## the slow tests too: kill loops, fio with verify, long simulations
	@$(call CONFIGURE,check)
	@cmake --build --preset check -j $(JOBS)
	@ctest --preset soak

soak-kill: build ## kill -9 of hozon-stored under load, KILLS times (1,000): SEED=first
	@tests/crash/kill_loop_test.py --stored build/check/bin/hozon-stored --kills $(or $(KILLS),1000) --seed $(or $(SEED),1)

differential: build ## a volume beside a raw file under the same requests, GB (20) of them: SEED=first
	@tests/interop/differential_test.py --stored build/check/bin/hozon-stored --gigabytes $(or $(GB),20) --seed $(or $(SEED),1)

sim: deps ## simulate crashes until stopped: SEED=first SEEDS=n SECONDS=n CUTS=n
	@$(call CONFIGURE,check)
	@cmake --build --preset check -j $(JOBS) --target sim
	@exec build/check/bin/sim --shrink --seed $(or $(SEED),1) $(if $(SEEDS),--seeds $(SEEDS)) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(CUTS),--cuts $(CUTS))

storm: deps ## make and remove volumes and points, CYCLES (100,000) times: SEED=first
	@$(call CONFIGURE,check)
	@cmake --build --preset check -j $(JOBS) --target sim_storm
	@exec build/check/bin/sim_storm --seed $(or $(SEED),1) --cycles $(or $(CYCLES),100000)

rot: deps ## one bit of every byte of every metadata block (minutes)
	@$(call CONFIGURE,check)
	@cmake --build --preset check -j $(JOBS) --target rot_bits_test
	@build/check/bin/rot_bits_test

mutants: deps ## plant each known bug in the store and show which suite notices it
	@$(call CONFIGURE,check)
	@cmake --build --preset check -j $(JOBS) --target sim_mutants
	@exec build/check/bin/sim_mutants

nightly: deps ## every pair of operations x every crash, every failing call; CUTS=n (2,000,000) more
	@$(call CONFIGURE,check)
	@cmake --build --preset check -j $(JOBS) --target sim sim_sequences sim_mutants
	@build/check/bin/sim_sequences --length 2
	@build/check/bin/sim_sequences --length 2 --faults
	@build/check/bin/sim --shrink --depth 3 --faults --cuts $(or $(CUTS),2000000)
	@build/check/bin/sim_mutants

bench: build ## measure beside a raw file and qcow2: table, JSON, plot (about 20 minutes)
	@tools/bootstrap bench
	@cmake --build --preset check -j $(JOBS) --target engine_bench
	@tools/bench --programs build/check/bin

bench-quick: build ## the same, small (under 3 minutes)
	@tools/bootstrap bench
	@cmake --build --preset check -j $(JOBS) --target engine_bench
	@tools/bench --programs build/check/bin --quick

asan: deps ## the fast tests under AddressSanitizer and UBSan
	@$(call CONFIGURE,asan)
	@cmake --build --preset asan -j $(JOBS)
	@ctest --preset asan -j $(JOBS)

tsan: deps ## the fast tests under ThreadSanitizer
	@$(call CONFIGURE,tsan)
	@cmake --build --preset tsan -j $(JOBS)
	@ctest --preset tsan -j $(JOBS)

valgrind: build ## the thread backend under valgrind memcheck
	@tools/bootstrap valgrind
	@cmake --build --preset check -j $(JOBS) --target io_test store_test sim
	@tools/valgrind --build build/check

fuzz: ## run every fuzzer for FUZZ_SECONDS (60) each
	@tools/bootstrap build fuzz
	@$(call CONFIGURE,fuzz)
	@cmake --build --preset fuzz -j $(JOBS) --target fuzzers
	@tools/fuzz --build build/fuzz --seconds $(or $(FUZZ_SECONDS),60)

lint: ## clang-format and clang-tidy, changes nothing
	@tools/bootstrap build lint
	@tools/lint

format: ## let clang-format rewrite the sources
	@tools/bootstrap lint
	@git ls-files '*.cc' '*.h' | xargs clang-format-19 -i

install: build ## install under $(DESTDIR)$(PREFIX)
	@DESTDIR='$(DESTDIR)' cmake --install build/check --prefix '$(PREFIX)'

clean: ## remove what was built
	@rm -rf build
