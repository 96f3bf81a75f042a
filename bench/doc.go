// Package bench has the benchmarks of evsourcing, each with its floor: what the
// same work costs without the library, measured directly before or after it. The
// names say which lines belong together:
//
//	BenchmarkLoad/engine=sqlite/events=1000/floor
//	BenchmarkLoad/engine=sqlite/events=1000/ours
//
// Compare ratios and not times, because times differ between machines and from
// one minute to the next. An operation handles as many events as the metric
// events/op says, or one. The comment of each benchmark says what its floor is.
//
//	go test -run '^$' -bench . -rounds 6 ./bench           # rounds: see main_test.go
//	go test -run '^$' -bench . -short ./bench              # small stores
//	EVSOURCING_FULL=1 go test -run '^$' -bench Scale ./bench -timeout 0
//
// The program [github.com/evsourcing/evsourcing/bench/cmd/report] runs them all,
// keeps the output in bench/results and makes docs/benchmarks.md of it.
package bench
