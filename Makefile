# Every target is one line; what takes more is a script in tools/ or .ci/.

.DEFAULT_GOAL := help
.PHONY: help test race lint fmt cover bench bench-compare bench-check faults fuzz services flight replay tidy ci

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15
test: ## test every module
	go test work
race: ## the same under the race detector, in random order
	go test -race -shuffle=on work
lint: ## vet, staticcheck, revive
	go vet work && tools/lint
fmt: ## format
	gofmt -w .
cover: ## statement coverage of the root package, with its floor
	tools/cover
bench: ## every figure beside its floor, and docs/benchmarks.md: half an hour; with EVSOURCING_FULL=1 to 10^7 events, longer
	go run ./bench/cmd/report
bench-compare: ## the benchmarks here and at BASE, alternately; BENCH selects
	tools/bench-compare '$(BASE)' '$(or $(BENCH),.)'
bench-check: ## ratios to the floors against the baseline
	go run ./bench/cmd/report -check
faults: ## every promise under faults, with its control: hours, ends in docs/reliability.md
	go run ./faults/cmd/reliability -full
fuzz: ## every fuzz test, a minute each
	tools/fuzz 1m
services: ## PostgreSQL for tests and examples, by Docker
	docker compose up -d --wait
flight: ## the running example
	go run ./examples/flight
replay: ## real flights through the running example
	go run ./examples/flight -replay
tidy: ## go mod tidy in every module
	tools/each-module go mod tidy
ci: ## all that a change must pass
	bash .ci/run
